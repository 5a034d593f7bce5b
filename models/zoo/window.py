"""Sliding window: a query looks at the neighbours on each side, with this project's kernel.

Family: fixed pattern
Source: Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020 (arXiv:2004.05150), section 3.1
Equation: softmax over {j : |i - j| <= w}
Complexity: L * (2 * window + 1)
Addresses: attention
Cannot: cross-attention
Limit: dense attention where window >= L - 1
"""

from __future__ import annotations

from torch import Tensor

from pyprof.models.zoo.band import band, lengths_of
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention


class Window(Attention):
    """`window` neighbours on each side, in the causal form on the left only."""

    def __init__(self, config: ZooConfig, layer: int, *, window: int) -> None:
        super().__init__(config, layer)
        self.window = window

    @property
    def sides(self) -> tuple[int, int]:
        return (self.window, 0 if self.causal else self.window)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        return band(query, key, value, self.sides, lengths_of(mask), self.rate)

"""Dilated window: a window with gaps, which reaches farther with as many keys.

Family: fixed pattern
Source: Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020 (arXiv:2004.05150), section 3.1
Equation: softmax over {j : |i - j| <= w g and (i - j) mod g = 0}
Complexity: L * (2 * window + 1)
Addresses: attention
Cannot: cross-attention
Limit: the sliding window where gap = 1; dense attention where moreover window >= L - 1
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyprof.models.zoo.band import band, lengths_of
from pyprof.models.zoo.blocks import cut
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.window import Window


class Dilated(Window):
    """`window` keys on each side, `gap` positions apart.

    Positions with the same remainder modulo the gap form a sequence of their own, on which the window is an ordinary
    one.
    """

    def __init__(self, config: ZooConfig, layer: int, *, window: int, gap: int) -> None:
        super().__init__(config, layer, window=window)
        self.gap = gap

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, _, length, _ = query.shape
        lengths = lengths_of(mask)
        if lengths is None:
            lengths = torch.full((batch,), length, dtype=torch.int64, device=query.device)
        remainders = torch.arange(self.gap, device=query.device)
        own = (lengths[:, None] - remainders + self.gap - 1) // self.gap
        query, key, value = (
            cut(states, self.gap).permute(0, 3, 1, 2, 4).flatten(0, 1) for states in (query, key, value)
        )
        context = band(query, key, value, self.sides, own.clamp(min=0).flatten(), self.rate)
        parted = torch.unflatten(context, 0, (batch, self.gap))
        return parted.permute(0, 2, 3, 1, 4).flatten(2, 3)[:, :, :length]

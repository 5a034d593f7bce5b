"""Windows that widen with depth: each layer's is twice as wide as that of the layer below.

Family: fixed pattern
Source: Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020 (arXiv:2004.05150), section 4.1
Equation: softmax over {j : |i - j| <= w 2^n} in layer n
Complexity: L * (2 * window + 1)
Addresses: attention
Cannot: cross-attention
Limit: dense attention in every layer where window >= L - 1
"""

from __future__ import annotations

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.window import Window


class Widening(Window):
    """`window` neighbours on each side in the first layer."""

    def __init__(self, config: ZooConfig, layer: int, *, window: int) -> None:
        super().__init__(config, layer, window=window * 2**layer)

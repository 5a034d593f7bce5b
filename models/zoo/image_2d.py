"""Image Transformer, 2-D local attention: rectangles of queries look at the pixels in and around them.

Family: fixed pattern
Source: Parmar et al., "Image Transformer", ICML 2018, section 3.3, "2D Local Attention"
Equation: softmax over the pixels of the query's rectangle and of a frame of m pixels around it; in the causal form, the
    paper's, those that come before it, without the frame's part below
Complexity: L * (rows + 2 * memory) * (columns + 2 * memory)
Addresses: attention
Cannot: cross-attention
Limit: dense attention where one rectangle holds the image
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyprof.models.zoo.blocks import Pattern, over_pattern
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention


class Image2d(Attention):
    """Rectangles of `rows` x `columns` pixels and a frame of `memory` pixels.

    The sequence is an image row by row, as wide as the rounded square root of the length that the model is fitted to.
    """

    def __init__(self, config: ZooConfig, layer: int, *, rows: int, columns: int, memory: int) -> None:
        super().__init__(config, layer)
        self.rows, self.columns, self.memory = rows, columns, memory
        self.fit(config.max_position_embeddings)

    def fit(self, length: int) -> None:
        self.width = round(length**0.5)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        length = query.shape[2]
        height, device = -(-length // self.width), query.device
        tops = torch.arange(0, height, self.rows, device=device)
        lefts = torch.arange(0, self.width, self.columns, device=device)
        below = 0 if self.causal else self.memory
        rows = self._places(tops, lefts, (0, self.rows), (0, self.columns))
        columns = self._places(
            tops, lefts, (-self.memory, self.rows + below), (-self.memory, self.columns + self.memory)
        )
        pattern = Pattern(rows, columns)
        return over_pattern(query, key, value, pattern.causal() if self.causal else pattern, mask, self.rate)

    def _places(self, tops: Tensor, lefts: Tensor, down: tuple[int, int], right: tuple[int, int]) -> Tensor:
        """Positions in the sequence of a rectangle's pixels, (rectangles, pixels), -1 outside of the image."""
        y = tops[:, None] + torch.arange(*down, device=tops.device)
        x = lefts[:, None] + torch.arange(*right, device=lefts.device)
        outside = (y < 0)[:, None, :, None] | ((x < 0) | (x >= self.width))[None, :, None, :]
        places = y[:, None, :, None] * self.width + x[None, :, None, :]
        return torch.where(outside, -1, places).flatten(0, 1).flatten(1)

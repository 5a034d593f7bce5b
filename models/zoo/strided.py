"""Strided sparse attention: half of the heads look at a window, half at every s-th position.

Family: fixed pattern
Source: Child et al., "Generating Long Sequences with Sparse Transformers", 2019 (arXiv:1904.10509), section 4.3
Equation: softmax over {j : |i - j| <= s} in one half of the heads, over {j : (i - j) mod s = 0} in the other, where s
    is the rounded square root of L
Complexity: L * sqrt(L)
Addresses: attention
Cannot: cross-attention
Limit: dense attention where the stride is 1 in the second half, and where it is L - 1 or more in the first
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyprof.models.zoo.band import band, lengths_of
from pyprof.models.zoo.blocks import cut, present
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import both, earlier, scores, weighted


class Strided(Attention):
    """The stride is the rounded square root of the length that the model is fitted to."""

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.fit(config.max_position_embeddings)

    def fit(self, length: int) -> None:
        self.stride = round(length**0.5)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        half = self.heads // 2
        sides = (self.stride, 0 if self.causal else self.stride)
        near = band(query[:, :half], key[:, :half], value[:, :half], sides, lengths_of(mask), self.rate)
        return torch.cat((near, self._columns(query[:, half:], key[:, half:], value[:, half:], mask)), dim=1)

    def _columns(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention among the positions that are a multiple of the stride apart."""
        length = query.shape[2]
        there = present(length, self.stride, mask, query.device)
        query, key, value = (cut(states, self.stride).transpose(2, 3) for states in (query, key, value))
        rows = query.shape[3]
        seen = both(
            None if there is None else there.transpose(1, 2)[:, None, :, None, :],
            earlier(rows, rows, query.device) if self.causal else None,
        )
        context = weighted(scores(query, key), value, seen, self.rate)
        return context.transpose(2, 3).flatten(2, 3)[:, :, :length]

"""Fixed sparse attention: half of the heads look at their block, half at the last columns of every block.

Family: fixed pattern
Source: Child et al., "Generating Long Sequences with Sparse Transformers", 2019 (arXiv:1904.10509), section 4.3
Equation: softmax over {j : floor(j / s) = floor(i / s)} in one half of the heads, over {j : j mod s >= s - c} in the
    other, where s is the rounded square root of L unless it is given
Complexity: L * sqrt(L) * (columns + 1) / 2
Addresses: attention
Cannot: cross-attention
Limit: dense attention where the stride is at least L in the first half, and where columns >= stride in the second
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyprof.models.zoo.blocks import cut, present
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.local import local
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import both, scores, weighted


class Fixed(Attention):
    """Blocks of `stride` positions, of which the last `columns` can be seen from everywhere.

    A stride of 0 stands for the rounded square root of the length that the model is fitted to. In the causal form a
    query before the first of the columns gives zeros in the second half of the heads.
    """

    def __init__(self, config: ZooConfig, layer: int, *, columns: int, stride: int = 0) -> None:
        super().__init__(config, layer)
        self.columns = columns
        self._fitted = stride == 0
        self.stride = stride
        self.fit(config.max_position_embeddings)

    def fit(self, length: int) -> None:
        if self._fitted:
            self.stride = round(length**0.5)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        half = self.heads // 2
        own = local(query[:, :half], key[:, :half], value[:, :half], self.stride, mask, self.causal, self.rate)
        return torch.cat((own, self._summaries(query[:, half:], key[:, half:], value[:, half:], mask)), dim=1)

    def _summaries(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        length, stride = query.shape[2], self.stride
        columns = min(self.columns, stride)
        places = torch.arange(length + -length % stride, device=query.device).view(-1, stride)
        places = places[:, stride - columns :].flatten()
        there = present(length, stride, mask, query.device)
        seen = None if there is None else there[:, None, :, stride - columns :].flatten(2)[:, :, None, :]
        if self.causal:
            seen = both(seen, places <= torch.arange(length, device=query.device)[:, None])
        key, value = (cut(states, stride)[:, :, :, stride - columns :].flatten(2, 3) for states in (key, value))
        return weighted(scores(query, key), value, seen, self.rate)

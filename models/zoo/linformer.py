"""Linformer: keys and values are projected to k rows along the sequence.

Family: low rank / kernel
Source: Wang et al., "Linformer: Self-Attention with Linear Complexity", 2020 (arXiv:2006.04768)
Equation: softmax(Q (E K)^T / sqrt(d)) F V
Complexity: L * 2 * rank
Addresses: attention
Cannot: autoregression, cross-attention
Limit: dense attention where E and F are the identity
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention, repeated
from pyprof.models.zoo.softmax import scores, weighted


class Linformer(Attention):
    """Projections to `rank` rows, the same for all heads; with `shared` one for keys and values."""

    CAUSAL = False

    def __init__(self, config: ZooConfig, layer: int, *, rank: int, shared: bool = False) -> None:
        super().__init__(config, layer)
        self.projections = nn.Parameter(torch.empty(1 if shared else 2, rank, config.max_position_embeddings))
        nn.init.normal_(self.projections, std=config.max_position_embeddings**-0.5)

    def extend(self, longest: int) -> None:
        self.projections = repeated(self.projections, longest, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            key, value = (states * mask[:, None, :, None] for states in (key, value))
        rows = self.projections[:, :, : key.shape[2]]
        return weighted(scores(query, rows[0] @ key), rows[-1] @ value, None, self.rate)

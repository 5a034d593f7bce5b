"""All-attention: persistent vectors beside the keys and values take the place of the feed-forward part.

Family: global memory
Source: Sukhbaatar et al., "Augmenting Self-attention with Persistent Memory", 2019 (arXiv:1907.01470), section 4.2
Equation: softmax(q_i [K; K_p]^T / sqrt(d)) [V; V_p], where each head has N persistent K_p and V_p
Complexity: L * (L + vectors)
Addresses: attention, feed-forward
Cannot: cross-attention
Limit: dense attention without a feed-forward part where vectors = 0
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import both, earlier, of_keys, scores, weighted


class AllAttention(Attention):
    """`vectors` persistent keys and values a head, as many as a feed-forward part has inner units."""

    FEEDFORWARD = False

    def __init__(self, config: ZooConfig, layer: int, *, vectors: int) -> None:
        super().__init__(config, layer)
        self.persistent = nn.Parameter(torch.empty(2, self.heads, vectors, self.head_dim))
        nn.init.normal_(self.persistent, std=self.head_dim**-0.5)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, _, length, _ = query.shape
        seen = both(of_keys(mask), earlier(length, length, query.device) if self.causal else None)
        if seen is not None:
            vectors = self.persistent.shape[2]
            always = torch.ones(*seen.shape[:-1], vectors, dtype=torch.bool, device=query.device)
            seen = torch.cat((seen, always), dim=-1)
        keys, values = (
            torch.cat((states, fixed.expand(batch, -1, -1, -1)), dim=2)
            for states, fixed in zip((key, value), self.persistent, strict=True)
        )
        return weighted(scores(query, keys), values, seen, self.rate)

"""Sinkhorn attention: a query looks at its own block and at one that a learned, soft permutation brings to it.

Family: learnable pattern
Source: Tay et al., "Sparse Sinkhorn Attention", ICML 2020, section 3
Equation: softmax over the keys of block i and of block i of R B(K), where R is the Sinkhorn normalisation of a
    network's scores of the blocks' sums
Complexity: L * 2 * block + L * L / block
Addresses: attention
Cannot: autoregression, cross-attention
Limit: dense attention where block >= L: a block and its copy have the same softmax
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyprof.models.zoo.blocks import cut, present
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention, repeated
from pyprof.models.zoo.softmax import scores, weighted


class Sinkhorn(Attention):
    """Blocks of `block` positions, sorted by a permutation that `iterations` normalisations of rows and columns make.

    The source's claim of O(block^2 + (L / block)^2) leaves out that a soft permutation moves every block to every
    place. Its causal form, with sums over earlier blocks, is not here. In training scores get Gumbel noise.
    """

    CAUSAL = False

    def __init__(
        self, config: ZooConfig, layer: int, *, block: int, iterations: int, temperature: float = 0.75
    ) -> None:
        super().__init__(config, layer)
        self.block, self.iterations, self.temperature = block, iterations, temperature
        blocks = -(-config.max_position_embeddings // block)
        self.places = nn.Parameter(torch.empty(self.heads, self.head_dim, blocks))
        nn.init.normal_(self.places, std=self.head_dim**-0.5)

    def extend(self, longest: int) -> None:
        self.places = repeated(self.places, -(-longest // self.block), 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        length, block = query.shape[2], self.block
        there = present(length, block, mask, query.device)
        query, key, value = (cut(states, block) for states in (query, key, value))
        if there is None:
            there = torch.ones(1, *query.shape[2:4], dtype=torch.bool, device=query.device)
        else:
            key, value = (states * there[:, None, ..., None] for states in (key, value))
        permutation = self.permutation(key.sum(dim=3), there.any(dim=-1))
        moved = [torch.einsum("bhij,bhjkd->bhikd", permutation, states) for states in (key, value)]
        # A sorted position counts as much as what was moved there counts: nothing where it was padding.
        share = permutation @ there[:, None].to(query.dtype)
        products = torch.cat(
            (scores(query, key), scores(query, moved[0]) + share.clamp(min=1e-30).log()[..., None, :]), dim=-1
        )
        seen = torch.cat((there[:, None].expand_as(share), share > 1e-9), dim=-1)[..., None, :]
        context = weighted(products, torch.cat((value, moved[1]), dim=3), seen, self.rate)
        return context.flatten(2, 3)[:, :, :length]

    def permutation(self, sums: Tensor, there: Tensor) -> Tensor:
        """The soft permutation (batch, heads, blocks, blocks) of blocks; those of padding alone stay where they are."""
        blocks = sums.shape[2]
        logits = sums @ self.places[:, :, :blocks] / self.temperature
        if self.training:
            logits = logits - torch.empty_like(logits).exponential_().log()
        outside = ~(there[:, None, :, None] & there[:, None, None, :])
        own = torch.eye(blocks, dtype=torch.bool, device=sums.device)
        logits = logits.masked_fill(outside & ~own, torch.finfo(logits.dtype).min).masked_fill(outside & own, 0.0)
        for _ in range(self.iterations):
            logits = logits - logits.logsumexp(dim=-1, keepdim=True)
            logits = logits - logits.logsumexp(dim=-2, keepdim=True)
        return logits.exp()

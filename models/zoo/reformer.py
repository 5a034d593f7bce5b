"""Reformer: tokens are sorted by a hash of their directions, and chunks of the sorted sequence attend.

Family: learnable pattern
Source: Kitaev, Kaiser, Levskaya, "Reformer: The Efficient Transformer", ICLR 2020, section 2
Equation: softmax over the keys in the query's chunk of the sorted sequence and in the chunk before it; rounds are
    joined by their sums of exponentials (appendix A); the hash is argmax [x R; -x R]; keys are normalised queries
Complexity: L * 2 * chunk * rounds
Addresses: attention
Cannot: cross-attention
Limit: dense attention with keys that are normalised queries, where chunk >= L
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pyprof.models.zoo.blocks import cut
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import scores

_BEFORE_ITSELF = -1e5


class Reformer(Attention):
    """`rounds` hashes to `buckets` buckets, and chunks of `chunk` tokens.

    A token looks at itself only where it sees nothing else. The first chunk has none before it, where the published
    code takes the last one. In the causal form no later token is read, but which earlier ones share a chunk depends on
    how many later ones sort between them. The number of buckets does not grow with the length, so that hashing stays
    linear.
    """

    def __init__(self, config: ZooConfig, layer: int, *, chunk: int, rounds: int, buckets: int) -> None:
        super().__init__(config, layer)
        self.chunk, self.rounds, self.buckets = chunk, rounds, buckets
        self.register_module("key", None)
        rotations = torch.randn(
            rounds, self.head_dim, max(buckets // 2, 1), generator=torch.Generator().manual_seed(layer)
        )
        self.rotations: Tensor
        self.register_buffer("rotations", rotations)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        query, value = self.split(self.query(hidden)), self.split(self.value(hidden))
        return self.join(self.attend(query, functional.normalize(query, dim=-1), value, mask))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        rounds = [self._round(query, key, value, mask, rotation) for rotation in self.rotations]
        contexts, sums = (torch.stack(parts) for parts in zip(*rounds, strict=True))
        return (contexts * sums.softmax(dim=0)[..., None]).sum(dim=0)

    def hashes(self, query: Tensor, rotation: Tensor) -> Tensor:
        """Each token's bucket, (batch, heads, length)."""
        turned = query.detach() @ rotation.to(query.dtype)
        return torch.cat((turned, -turned), dim=-1).argmax(dim=-1)

    def _round(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rotation: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Context and log-sum-exp of one hash."""
        length = query.shape[2]
        places = torch.arange(length, device=query.device)
        buckets = self.hashes(query, rotation)
        if mask is not None:
            buckets = buckets.masked_fill(~mask[:, None], self.buckets)
        order = (buckets * length + places).argsort(dim=-1)
        chunk = min(self.chunk, length)
        query, key, value = (cut(_sorted(states, order), chunk) for states in (query, key, value))
        # -1 stands for what fills the last chunk, and for the chunk before the first.
        filled = functional.pad(order, (0, -length % chunk), value=-1)
        if mask is not None:
            there = mask[:, None].expand_as(order).gather(-1, order)
            filled = filled.masked_fill(~functional.pad(there, (0, -length % chunk)), -1)
        of_query = torch.unflatten(filled, -1, (-1, chunk))
        of_key = torch.cat((_before(of_query, -1), of_query), dim=-1)
        products = scores(query, torch.cat((_before(key, 0), key), dim=3))
        itself = of_query[..., :, None] == of_key[..., None, :]
        products = torch.where(itself, _BEFORE_ITSELF, products)
        seen = (of_key >= 0)[..., None, :]
        if self.causal:
            seen = seen & (of_key[..., None, :] <= of_query[..., :, None])
        products = products.masked_fill(~seen, torch.finfo(products.dtype).min)
        sums = products.logsumexp(dim=-1)
        weights = functional.dropout(torch.exp(products - sums[..., None]), self.rate)
        context = weights @ torch.cat((_before(value, 0), value), dim=3)
        back = order.argsort(dim=-1)
        context, sums = context.flatten(2, 3)[:, :, :length], sums.flatten(2)[:, :, :length]
        return _sorted(context, back), sums.gather(-1, back)


def _sorted(states: Tensor, order: Tensor) -> Tensor:
    return states.gather(2, order[..., None].expand_as(states))


def _before(chunks: Tensor, fill: int) -> Tensor:
    """For each chunk (along dimension 2) the one before it."""
    return torch.cat((torch.full_like(chunks[:, :, :1], fill), chunks[:, :, :-1]), dim=2)

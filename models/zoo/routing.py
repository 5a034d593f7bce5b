"""Routing Transformer: tokens near one of k learned centroids attend to each other.

Family: learnable pattern
Source: Roy et al., "Efficient Content-Based Sparse Attention with Routing Transformers", TACL 2021, section 4
Equation: for each centroid softmax over the w keys nearest to it, for the w queries nearest to it; k is the
    rounded square root of L and w = L / k; centroids are moving averages of the tokens that are nearest to them
Complexity: L * sqrt(L)
Addresses: attention
Cannot: cross-attention
Limit: dense attention of normalised queries and keys where there is one centroid
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import scores, weighted

_KEPT = 0.999


class Routing(Attention):
    """Centroids for the fitted length; a token of several clusters has the mean of its contexts, one of none zeros.

    In the causal form no later token is read, but which earlier ones are among the nearest depends on later ones.
    """

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.centroids: Tensor
        self.register_buffer("centroids", torch.empty(self.heads, 0, self.head_dim))
        self.extend(config.max_position_embeddings)
        self.fit(config.max_position_embeddings)

    def extend(self, longest: int) -> None:
        generator = torch.Generator().manual_seed(self.layer)
        centroids = torch.randn(self.heads, max(round(longest**0.5), 1), self.head_dim, generator=generator)
        self.centroids = _unit(centroids).to(self.centroids)

    def fit(self, length: int) -> None:
        self.clusters = max(round(length**0.5), 1)
        self.size = -(-length // self.clusters)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key = _unit(query), _unit(key)
        centroids = self.centroids[:, : self.clusters]
        size = min(self.size, query.shape[2])
        near_query, near_key = (centroids @ states.detach().transpose(-1, -2) for states in (query, key))
        if mask is not None:
            near_query, near_key = (
                near.masked_fill(~mask[:, None, None], -torch.inf) for near in (near_query, near_key)
            )
        if self.training:
            self._move(torch.cat((query, key), dim=2).detach(), torch.cat((near_query, near_key), dim=-1))
        of_query, of_key = (near.topk(size, dim=-1) for near in (near_query, near_key))
        seen = of_key.values.isfinite()[..., None, :]
        if self.causal:
            seen = seen & (of_key.indices[..., None, :] <= of_query.indices[..., :, None])
        context = weighted(
            scores(_taken(query, of_query.indices), _taken(key, of_key.indices)),
            _taken(value, of_key.indices),
            seen,
            self.rate,
        )
        places = of_query.indices.flatten(2)
        total = torch.zeros_like(value).scatter_add(
            2, places[..., None].expand(-1, -1, -1, value.shape[-1]), context.flatten(2, 3)
        )
        times = torch.zeros_like(value[..., 0]).scatter_add(2, places, torch.ones_like(places, dtype=value.dtype))
        return total / times.clamp(min=1)[..., None]

    @torch.no_grad()
    def _move(self, states: Tensor, near: Tensor) -> None:
        """Each centroid goes a little towards the mean of the tokens that are nearest to it."""
        nearest = functional.one_hot(near.argmax(dim=2), self.clusters).to(states.dtype)
        nearest = nearest * near.amax(dim=2).isfinite()[..., None]
        sums, count = (nearest.transpose(-1, -2) @ states).sum(dim=0), nearest.sum(dim=(0, 2))[..., None]
        centroids = self.centroids[:, : self.clusters]
        moved = _KEPT * centroids + (1 - _KEPT) * sums / count.clamp(min=1)
        self.centroids[:, : self.clusters] = torch.where(count > 0, moved, centroids)


def _unit(states: Tensor) -> Tensor:
    return functional.layer_norm(states, states.shape[-1:])


def _taken(states: Tensor, places: Tensor) -> Tensor:
    """(batch, heads, length, dim) at (batch, heads, clusters, size)."""
    flat = places.flatten(2)[..., None].expand(-1, -1, -1, states.shape[-1])
    return torch.unflatten(states.gather(2, flat), 2, places.shape[2:])

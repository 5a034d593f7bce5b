"""Performer: the softmax's similarity in random features that are positive and orthogonal (FAVOR+).

Family: low rank / kernel
Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, section 2
Equation: D^-1 Q' (K'^T V) with x' = exp(w^T x - |x|^2 / 2) for each random w, Lemma 1
Complexity: L * features
Addresses: attention
Cannot: nothing
Limit: dense attention where the number of features goes to infinity
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.kernels import by_features
from pyprof.models.zoo.parts import Attention


class Performer(Attention):
    """`features` random directions, drawn once for each layer."""

    def __init__(self, config: ZooConfig, layer: int, *, features: int) -> None:
        super().__init__(config, layer)
        self.directions: Tensor
        self.register_buffer("directions", orthogonal(features, self.head_dim, layer))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        # The largest exponent is taken out: of each query, and of all keys together. It cancels in the quotient.
        of_query, of_key = self.exponents(query), self.exponents(key)
        if mask is not None:
            of_key = of_key.masked_fill(~mask[:, None, :, None], -torch.inf)
        query = torch.exp(of_query - of_query.detach().amax(dim=-1, keepdim=True))
        key = torch.exp(of_key - of_key.detach().amax(dim=(-2, -1), keepdim=True))
        return by_features(query, key, value, self.causal)

    def exponents(self, states: Tensor) -> Tensor:
        """The logarithms of the features of queries or keys, each of which takes half of the scores' scale."""
        scaled = states / states.shape[-1] ** 0.25
        products = torch.matmul(scaled, self.directions.to(states.dtype).T)
        exponents: Tensor = products - (scaled**2).sum(dim=-1, keepdim=True) / 2
        return exponents


def orthogonal(count: int, dim: int, seed: int) -> Tensor:
    """Directions (count, dim), orthogonal within each `dim` of them, with the lengths of normal vectors."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(-(-count // dim), dim, dim, generator=generator)
    lengths: Tensor = torch.randn(count, dim, generator=generator).norm(dim=-1, keepdim=True)
    turned, triangle = torch.linalg.qr(drawn)
    # Without these signs the directions are not spread evenly, and the features are biased.
    turned = turned * triangle.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    rows: Tensor = turned.transpose(-1, -2).flatten(0, 1)[:count]
    return rows * lengths

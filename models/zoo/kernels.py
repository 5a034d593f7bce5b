"""Attention whose similarity is a product of features, so that keys and values are summed once for all queries."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pyprof.models.zoo.blocks import cut

_CHUNK = 64


def by_features(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """The values' mean with weights query_i . key_j, of which no matrix is made; zeros where all weights are zero.

    Queries and keys are features (batch, heads, length, features). The causal form sums chunk by chunk: within a chunk
    it is a product under a triangle, before it the running sum of keys times values.
    """
    value = functional.pad(value, (0, 1), value=1.0)
    if causal:
        length = query.shape[2]
        query, key, value = (cut(states, min(_CHUNK, length)) for states in (query, key, value))
        within = (query @ key.transpose(-1, -2)).tril() @ value
        sums = (key.transpose(-1, -2) @ value).cumsum(dim=2)
        before = torch.cat((torch.zeros_like(sums[:, :, :1]), sums[:, :, :-1]), dim=2)
        total = (within + query @ before).flatten(2, 3)[:, :, :length]
    else:
        total = query @ (key.transpose(-1, -2) @ value)
    weights = total[..., -1:]
    return total[..., :-1] / torch.where(weights == 0, 1.0, weights)

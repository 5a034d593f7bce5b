"""The band of queries and keys one diagonal after another: slower than products of chunks, and touches nothing else.

What is outside of the band cannot spoil a sum here, where a product would multiply NaN by a weight of 0. Shapes are
those of `pyprof.ops.chunks`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def scores(query: Tensor, key: Tensor, side: int) -> Tensor:
    """Scores of every query with its band of keys: (batch, heads, length, 2 side + 1); 0 beyond an edge."""
    return torch.stack([(query * shifted).sum(dim=-1) for shifted in _diagonals(key, side)], dim=-1)


def outputs(weights: Tensor, value: Tensor, side: int) -> Tensor:
    """Weighted sums of every query's band of values: (batch, heads, length, head_dim)."""
    total = torch.zeros_like(value)
    for weight, shifted in zip(weights.unbind(dim=-1), _diagonals(value, side), strict=True):
        total = total + weight[..., None] * shifted
    return total


def _diagonals(tensor: Tensor, side: int) -> list[Tensor]:
    """For every place of the band, what lies there for each query; zeros beyond an edge."""
    padded, length = functional.pad(tensor, (0, 0, side, side)), tensor.shape[2]
    return [padded[:, :, place : place + length] for place in range(2 * side + 1)]


def selected_product(left: Tensor, right: Tensor, seen: Tensor) -> Tensor:
    """Left @ right over the places where `seen` is 1, with NaN and infinities of `right` where they belong."""
    result = left @ right.nan_to_num(0.0, 0.0, 0.0)
    nan, above, below = (
        (seen @ where.to(seen.dtype)) > 0 for where in (right.isnan(), right.isposinf(), right.isneginf())
    )
    infinity = torch.where(above, torch.inf, -torch.inf).to(result.dtype)
    result = torch.where(above | below, infinity, result)
    return torch.where(nan | (above & below), torch.nan, result)

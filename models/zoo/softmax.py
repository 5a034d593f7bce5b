"""Softmax attention over the keys that a query sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def scores(query: Tensor, key: Tensor) -> Tensor:
    """Scaled products (..., queries, keys)."""
    return torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])


def weighted(scores: Tensor, value: Tensor, seen: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """The values' mean, weighted by the softmax of the scores of what is `seen`; zeros where that is nothing."""
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if seen is not None:
        weights = weights.masked_fill(~seen, 0.0)
    return functional.dropout(weights, dropout) @ value


def of_keys(mask: Tensor | None) -> Tensor | None:
    """A padding mask (batch, length) as what every query of every head sees."""
    return None if mask is None else mask[:, None, None, :]


def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """What two masks leave, where None hides nothing."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def earlier(queries: int, keys: int, device: torch.device) -> Tensor:
    """The keys that are not later than a query, (queries, keys), where both end at the same position."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)

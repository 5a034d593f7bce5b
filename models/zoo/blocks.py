"""Sequences cut into blocks, and attention of blocks of queries to any positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pyprof.models.zoo.softmax import scores, weighted


def cut(states: Tensor, block: int) -> Tensor:
    """(batch, heads, length, dim) as (batch, heads, blocks, block, dim), with zeros behind the end."""
    padding = -states.shape[2] % block
    if padding:
        states = functional.pad(states, (0, 0, 0, padding))
    return torch.unflatten(states, 2, (-1, block))


def present(length: int, block: int, mask: Tensor | None, device: torch.device) -> Tensor | None:
    """The tokens in each block, (batch or 1, blocks, block); None where all are."""
    padding = -length % block
    if mask is None and not padding:
        return None
    tokens = torch.ones(1, length, dtype=torch.bool, device=device) if mask is None else mask
    return torch.unflatten(functional.pad(tokens, (0, padding)), 1, (-1, block))


@dataclass(frozen=True)
class Pattern:
    """Blocks of queries and the keys that each looks at.

    `rows` (blocks, queries) and `columns` (blocks, keys) are positions, -1 for none; every query stands in `rows` once.
    `seen` (blocks, queries, keys) takes keys away from single queries.
    """

    rows: Tensor
    columns: Tensor
    seen: Tensor | None = None

    def causal(self) -> Pattern:
        """The same without keys that are later than their query."""
        earlier = self.columns[:, None, :] <= self.rows[:, :, None]
        return Pattern(self.rows, self.columns, earlier if self.seen is None else self.seen & earlier)


def over_pattern(
    query: Tensor, key: Tensor, value: Tensor, pattern: Pattern, mask: Tensor | None, dropout: float
) -> Tensor:
    """Attention of each block's queries to its keys; positions beyond the end are left out."""
    length, keys = query.shape[2], key.shape[2]
    rows, columns = pattern.rows, pattern.columns
    there = ((columns >= 0) & (columns < keys))[None]
    taken = columns.clamp(0, keys - 1)
    if mask is not None:
        there = there & mask[:, taken]
    seen = there[:, None, :, None, :]
    if pattern.seen is not None:
        seen = seen & pattern.seen
    products = scores(_taken(query, rows.clamp(0, length - 1)), _taken(key, taken))
    context = weighted(products, _taken(value, taken), seen, dropout)
    beyond = torch.where((rows < 0) | (rows >= length), length, rows)
    places = beyond.flatten().argsort()[:length]
    return context.flatten(2, 3).index_select(2, places)


def _taken(states: Tensor, places: Tensor) -> Tensor:
    return torch.unflatten(states.index_select(2, places.flatten()), 2, tuple(places.shape))

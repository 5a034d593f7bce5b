"""Sliding-window attention with the native kernel, for what the zoo cuts sequences into."""

from __future__ import annotations

import torch
from torch import Tensor

from pyprof.ops.window_attention import window_attention


def lengths_of(mask: Tensor | None) -> Tensor | None:
    """How many tokens each sequence of a padding mask has."""
    return None if mask is None else mask.sum(dim=-1, dtype=torch.int64)


def band(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: tuple[int, int],
    lengths: Tensor | None,
    dropout: float,
    global_keys: int = 0,
) -> Tensor:
    """Attention to `window` neighbours and to the first keys by `kernel`."""
    return window_attention(
        query, key, value, window, lengths, dropout_p=dropout, impl=kernel(query), global_keys=global_keys
    )


def kernel(query: Tensor) -> str:
    """The implementation that runs: the kernel of the device, in float64 the reference."""
    return "reference" if query.dtype == torch.float64 else "auto"

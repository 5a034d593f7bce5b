"""Sliding-window attention with the native kernel, for what the zoo cuts sequences into."""

from __future__ import annotations

import torch
from torch import Tensor

from pyprof.ops.window_attention import window_attention, window_attention_with_lse


def lengths_of(mask: Tensor | None) -> Tensor | None:
    """How many tokens each sequence of a padding mask has."""
    return None if mask is None else mask.sum(dim=-1, dtype=torch.int64)


def band(
    query: Tensor, key: Tensor, value: Tensor, window: tuple[int, int], lengths: Tensor | None, dropout: float
) -> Tensor:
    """Attention to `window` neighbours by the kernel of the device, in float64 by the reference."""
    return window_attention(query, key, value, window, lengths, dropout_p=dropout, impl=_kernel(query))


def band_with_lse(
    query: Tensor, key: Tensor, value: Tensor, window: tuple[int, int], lengths: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """The same, and the logarithm of each query's sum of exponentials."""
    return window_attention_with_lse(query, key, value, window, lengths, dropout_p=dropout, impl=_kernel(query))


def _kernel(query: Tensor) -> str:
    return "reference" if query.dtype == torch.float64 else "auto"

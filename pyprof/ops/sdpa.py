"""Sliding-window attention as PyTorch's dense attention under a mask: simple, and length x length in work."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sdpa_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: tuple[int, int],
    *,
    key_lengths: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
    global_keys: int = 0,
) -> Tensor:
    """Shapes as in `pyprof.window_attention`; the mask is made anew for every call.

    PyTorch multiplies what a mask hides by weights of 0, so that NaN or an infinity in a key or a value can reach every
    query. Keys and values behind `key_lengths` are made zeros, and reach nobody.
    """
    visible = visible_keys(query.shape[2], window, key_lengths, query.device, global_keys)
    empty = None if key_lengths is None else ~visible.any(dim=-1, keepdim=True)
    if empty is not None:
        # A softmax over nothing is not a number, nor is its gradient: such a query sees all keys and counts for zero.
        visible = visible | empty
    if key_lengths is not None:
        key, value = without_padding(key, value, key_lengths)
    output = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=visible,
        dropout_p=dropout_p,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output if empty is None else output.masked_fill(empty, 0.0)


def without_padding(key: Tensor, value: Tensor, key_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Key and value with zeros from each sequence's key length on."""
    padding = torch.arange(key.shape[2], device=key.device) >= key_lengths[:, None]
    key, value = (tensor.masked_fill(padding[:, None, :, None], 0.0) for tensor in (key, value))
    return key, value


def visible_keys(
    length: int,
    window: tuple[int, int],
    key_lengths: Tensor | None = None,
    device: torch.device | str = "cpu",
    global_keys: int = 0,
) -> Tensor:
    """Which keys each query sees, true for those: (length, length), or (batch, 1, length, length) with key lengths."""
    position = torch.arange(length, device=device)
    ahead = position[None] - position[:, None]
    visible = (ahead >= -window[0]) & (ahead <= window[1])
    if global_keys:
        visible = visible | ((ahead < -window[0]) & (position < global_keys))
    if key_lengths is None:
        return visible
    return visible & (position < key_lengths[:, None])[:, None, None]

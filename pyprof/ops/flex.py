"""Sliding-window attention by PyTorch's FlexAttention (Dong et al., "FlexAttention", 2024), compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from pyprof.errors import UsageError
from pyprof.ops.sdpa import without_padding

BLOCK_SIZE = 128
_MANY = 1 << 20


def flex_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: tuple[int, int],
    *,
    key_lengths: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
    block_size: int = BLOCK_SIZE,
) -> Tensor:
    """Shapes as in `pyprof.window_attention`; compiled at the first call for every new shape, which takes seconds.

    The block mask says which blocks of `block_size` queries and keys hold anything of the band; without key lengths it
    is kept for the next call. Keys and values behind `key_lengths` are made zeros, as blocks that a mask cuts are
    multiplied by weights of 0. Raises UsageError for dropout, which FlexAttention has not, and for gradients on the
    host, where it only runs forward.
    """
    if dropout_p > 0.0:
        raise UsageError("impl 'flex' has no dropout: set dropout_p=0.0, or choose impl='auto'")
    if query.device.type == "cpu":
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value)):
            raise UsageError("impl 'flex' runs only forward on the host: use torch.no_grad(), or choose impl='auto'")
        # FlexAttention refuses tensors that require gradients here even where nobody asks for any.
        query, key, value = query.detach(), key.detach(), value.detach()
    if key_lengths is None:
        mask = _kept_block_mask(query.shape[2], window, block_size, query.device)
    else:
        mask = block_mask(query.shape[2], window, block_size, query.device, key_lengths)
        key, value = without_padding(key, value, key_lengths)
    # Beyond its limit of recompilations PyTorch would go on uncompiled, which is dense; a study has more lengths.
    with torch._dynamo.config.patch(recompile_limit=_MANY, accumulated_recompile_limit=_MANY):
        output: Tensor = _compiled()(
            query, key, value, block_mask=mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
        )
    return output


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


def block_mask(
    length: int, window: tuple[int, int], block_size: int, device: torch.device, key_lengths: Tensor | None = None
) -> BlockMask:
    """Which blocks of `block_size` queries and keys hold anything of the band, for FlexAttention."""
    left, right = window

    def in_band(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key >= query - left) & (key <= query + right)

    def in_band_and_length(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert key_lengths is not None
        return in_band(batch, head, query, key) & (key < key_lengths[batch])

    batch = None if key_lengths is None else key_lengths.shape[0]
    visible = in_band if key_lengths is None else in_band_and_length
    return create_block_mask(visible, batch, None, length, length, device=device, BLOCK_SIZE=block_size)


_kept_block_mask = lru_cache(maxsize=16)(block_mask)

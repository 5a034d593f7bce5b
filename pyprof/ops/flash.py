"""Sliding-window attention by FlashAttention-2 (Dao, "FlashAttention-2", 2023), as PyTorch ships it for CUDA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def flash_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: tuple[int, int],
    *,
    key_lengths: None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
) -> Tensor:
    """Shapes as in `pyprof.window_attention`, which refuses key lengths for it; float16 and bfloat16 on CUDA.

    What blocks of the kernel hold beside the band is multiplied by weights of 0, so that NaN or an infinity there can
    reach queries that do not see it. Its tensors are (batch, length, heads, head_dim), and its window counts neighbours
    as ours does.
    """
    length = query.shape[2]
    left, right = (min(side, length) for side in window)
    output = _forward(
        *(tensor.transpose(1, 2) for tensor in (query, key, value)),
        *(None, None, length, length, dropout_p, False, False),
        scale=scale,
        window_size_left=left,
        window_size_right=right,
    )[0]
    return output.transpose(1, 2)


def _forward(*arguments: Any, **keywords: Any) -> tuple[Tensor, ...]:
    # The operator itself, as scaled_dot_product_attention has no window.
    outputs: tuple[Tensor, ...] = torch.ops.aten._flash_attention_forward(*arguments, **keywords)
    return outputs

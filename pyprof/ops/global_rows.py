"""The rows of global tokens, queries that see every key: a kernel of the host, and dense products elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pyprof.ops import operator
from pyprof.ops.arguments import Arguments

Saved = tuple[Tensor | None, ...]


def attend_rows(
    rows: Tensor, keys: Tensor, values: Tensor, arguments: Arguments, impl: str, seed: Tensor | None
) -> tuple[Tensor, Saved]:
    """What `rows` see of all keys, and what `rows_backward` wants to have saved of it.

    Args:
        rows: (batch, heads, tokens, head_dim).
        keys: (batch, heads, length, head_dim).
        values: like keys.
        arguments: of the window beside them, for key lengths, scale and dropout.
        impl: cpu for the kernel; others are composed.
        seed: of the kernel's dropout.

    Returns:
        (batch, heads, tokens, head_dim), of the kernel in float32, and what is to be saved.
    """
    if impl == "cpu":
        output, statistics = operator.global_rows(arguments, seed, rows, keys, values)
        return output, (output, statistics)
    weights = _weights(rows, keys, arguments)
    kept = functional.dropout(torch.ones_like(weights), arguments.dropout_p) if arguments.dropout_p else None
    return _dropped(weights, kept).to(rows.dtype) @ values, (weights, kept)


def rows_backward(
    grad: Tensor,
    rows: Tensor,
    keys: Tensor,
    values: Tensor,
    saved: Saved,
    arguments: Arguments,
    impl: str,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of rows, keys and values, where `grad` is that of what `attend_rows` gave."""
    if impl == "cpu":
        output, statistics = saved
        assert output is not None
        assert statistics is not None
        gradients = operator.global_rows_backward(arguments, seed, grad, rows, keys, values, output, statistics)
        return gradients[0].to(rows.dtype), gradients[1], gradients[2]
    weights, kept = saved
    assert weights is not None
    grad_weights = _dropped((grad @ values.mT).to(weights.dtype), kept)
    grad_scores = weights * (grad_weights - (weights * grad_weights).sum(dim=-1, keepdim=True))
    grad_scores = (grad_scores * arguments.scale).to(rows.dtype)
    return grad_scores @ keys, grad_scores.mT @ rows, _dropped(weights, kept).to(rows.dtype).mT @ grad


def _weights(rows: Tensor, keys: Tensor, arguments: Arguments) -> Tensor:
    """The softmax of the global rows, (batch, heads, tokens, length), in float32 at least."""
    scores = (rows @ keys.mT).to(torch.promote_types(rows.dtype, torch.float32)) * arguments.scale
    if arguments.key_lengths is None:
        return scores.softmax(dim=-1)
    hidden = torch.arange(keys.shape[2], device=rows.device) >= arguments.key_lengths[:, None, None, None]
    return scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).masked_fill(hidden, 0.0)


def _dropped(weights: Tensor, kept: Tensor | None) -> Tensor:
    return weights if kept is None else weights * kept

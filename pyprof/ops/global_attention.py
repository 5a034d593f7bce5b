"""Longformer's attention (Beltagy, Peters, Cohan, 2020, section 3.1): a window, and global tokens at the beginning.

The window's kernel does the global columns; the global rows are few, and are written over its first rows. Nothing is
length x length, and nothing of the output's size is copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pyprof.errors import UsageError
from pyprof.ops import operator
from pyprof.ops.arguments import Arguments, checked
from pyprof.ops.window_attention import NATIVE, resolve_impl, window_attention


def global_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: Tensor,
    row_keys: Tensor,
    row_values: Tensor,
    window: tuple[int, int],
    key_lengths: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
    impl: str = "auto",
) -> Tensor:
    """`pyprof.window_attention` whose first tokens are global: they see, and are seen by, every token.

    Args:
        query: (batch, heads, length, head_dim), as `pyprof.window_attention` takes it. Every query sees its window and
            the keys of the global tokens before it.
        key: like query.
        value: like query.
        rows: (batch, heads, tokens, head_dim), the queries of the global tokens, which see all of `row_keys` and
            `row_values`; `query` has others in their place, which are not used.
        row_keys: like query. What they hold behind the key lengths has to be finite.
        row_values: like row_keys.
        window: as for `pyprof.window_attention`.
        key_lengths: the same.
        scale: the same.
        dropout_p: the same.
        impl: auto, or a native implementation.

    Returns:
        (batch, heads, length, head_dim), the global tokens first.

    Raises:
        UsageError: an argument does not fit.
    """
    tokens = rows.shape[2] if rows.dim() == 4 else 0
    batch, heads, length, head_dim = query.shape if query.dim() == 4 else (0, 0, 0, 0)
    if rows.shape != (batch, heads, tokens, head_dim) or tokens > length:
        raise UsageError(
            f"rows has shape {tuple(rows.shape)}: it must be query's, {tuple(query.shape)}, but for fewer rows"
        )
    for name, tensor in (("row_keys", row_keys), ("row_values", row_values)):
        if tensor.shape != query.shape:
            raise UsageError(f"{name} has shape {tuple(tensor.shape)}: it must be query's, {tuple(query.shape)}")
    if tokens == 0:
        return window_attention(query, key, value, window, key_lengths, scale, dropout_p, impl)
    name = resolve_impl(impl, query)
    if name not in NATIVE:
        raise UsageError(f"impl {name!r} has no global tokens: choose auto, {', '.join(NATIVE)}")
    arguments = checked((query, key, value), window, key_lengths, scale, dropout_p, name, tokens)
    given = (query, key, value, rows, row_keys, row_values, arguments, name)
    attended: Tensor = _GlobalAttention.apply(*given)  # type: ignore[no-untyped-call]
    return attended


class _GlobalAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rows: Tensor,
        row_keys: Tensor,
        row_values: Tensor,
        arguments: Arguments,
        impl: str,
    ) -> Tensor:
        seed = operator.draw_seed(arguments)
        output, lse = operator.call(arguments, impl, seed)
        weights = _weights_of_rows(rows, row_keys, arguments)
        kept = functional.dropout(torch.ones_like(weights), arguments.dropout_p) if arguments.dropout_p else None
        dropped = weights if kept is None else weights * kept
        tokens = rows.shape[2]
        output[:, :, :tokens] = dropped.to(rows.dtype) @ row_values
        # Beside an infinite sum the weights of the queries that were written over are zeros: they have no gradients.
        lse[:, :, :tokens] = torch.inf
        ctx.arguments, ctx.impl = arguments, impl
        ctx.save_for_backward(query, key, value, rows, row_keys, row_values, output, lse, weights, kept, seed)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, rows, row_keys, row_values, output, lse, weights, kept, seed = ctx.saved_tensors
        arguments: Arguments = ctx.arguments
        band = operator.call_backward(arguments, ctx.impl, seed, (query, key, value), grad_output, output, lse)
        grad = grad_output[:, :, : rows.shape[2]]
        dropped = weights if kept is None else weights * kept
        grad_weights = (grad @ row_values.mT).to(weights.dtype)
        if kept is not None:
            grad_weights = grad_weights * kept
        grad_scores = weights * (grad_weights - (weights * grad_weights).sum(dim=-1, keepdim=True))
        grad_scores = (grad_scores * arguments.scale).to(rows.dtype)
        return (
            *band,
            grad_scores @ row_keys,
            _outer(grad_scores, rows, row_keys),
            _outer(dropped.to(rows.dtype), grad, row_values),
            None,
            None,
        )


def _weights_of_rows(rows: Tensor, row_keys: Tensor, arguments: Arguments) -> Tensor:
    """The softmax of the global rows, (batch, heads, tokens, length), in float32 at least."""
    scores = (rows @ row_keys.mT).to(torch.promote_types(rows.dtype, torch.float32)) * arguments.scale
    if arguments.key_lengths is None:
        return scores.softmax(dim=-1)
    hidden = torch.arange(row_keys.shape[2], device=rows.device) >= arguments.key_lengths[:, None, None, None]
    return scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).masked_fill(hidden, 0.0)


def _outer(weights: Tensor, rows: Tensor, like: Tensor) -> Tensor:
    """weights^T rows, in the order of dimensions that `like` has, so that autograd's way back copies nothing."""
    made = torch.empty_like(like)
    if made.is_contiguous() or made.is_cuda:
        return weights.mT @ rows
    for one, some, to in zip(weights.flatten(0, 1), rows.flatten(0, 1), _matrices(made), strict=True):
        torch.mm(one.mT, some, out=to)
    return made


def _matrices(tensor: Tensor) -> list[Tensor]:
    return [matrix for sequence in tensor.unbind(0) for matrix in sequence.unbind(0)]

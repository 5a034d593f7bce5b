"""Longformer's attention (Beltagy, Peters, Cohan, 2020, section 3.1): a window, and global tokens at the beginning.

The window's kernel does the global columns; the global rows are few, and are written over its first rows. Nothing is
length x length, and nothing of the output's size is copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyprof.errors import UsageError
from pyprof.ops import operator
from pyprof.ops.arguments import Arguments, checked
from pyprof.ops.columns import needs_columns, with_columns
from pyprof.ops.global_rows import attend_rows, rows_backward
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
    if needs_columns(arguments, name):
        attended, _ = attend_rows(rows, row_keys, row_values, arguments, name, None)
        return torch.cat((attended, with_columns(arguments, name)[0][:, :, tokens:]), dim=2)
    given = (query, key, value, rows, row_keys, row_values, arguments, name)
    joined: Tensor = _GlobalAttention.apply(*given)  # type: ignore[no-untyped-call]
    return joined


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
        attended, saved = attend_rows(rows, row_keys, row_values, arguments, impl, seed)
        tokens = rows.shape[2]
        output[:, :, :tokens] = attended
        # Beside an infinite sum the weights of the queries that were written over are zeros: they have no gradients.
        lse[:, :, :tokens] = torch.inf
        ctx.arguments, ctx.impl = arguments, impl
        ctx.save_for_backward(query, key, value, rows, row_keys, row_values, output, lse, seed, *saved)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, rows, row_keys, row_values, output, lse, seed, *saved = ctx.saved_tensors
        arguments, impl = ctx.arguments, ctx.impl
        band = operator.call_backward(arguments, impl, seed, (query, key, value), grad_output, output, lse)
        grad = grad_output[:, :, : rows.shape[2]]
        own = rows_backward(grad, rows, row_keys, row_values, tuple(saved), arguments, impl, seed)
        return (*band, *own, None, None)

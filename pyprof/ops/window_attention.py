"""Sliding-window attention: every query sees itself and `window` (left, right) neighbours, clipped at the edges.

The definition is written once, in csrc/window_attention/window.h. A computation is chosen by name and never replaced by
another one: `auto` picks the native implementation for the query's device, and `resolve_impl` tells which that is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import pyprof._window
from pyprof.errors import UsageError
from pyprof.ops import operator
from pyprof.ops.arguments import Arguments, checked
from pyprof.ops.chunks import chunked_attention
from pyprof.ops.columns import needs_columns, with_columns
from pyprof.ops.flash import flash_window_attention
from pyprof.ops.flex import flex_window_attention
from pyprof.ops.operator import cpu_isa, flops
from pyprof.ops.sdpa import sdpa_window_attention

__all__ = [
    "IMPLEMENTATIONS",
    "NATIVE",
    "cpu_isa",
    "flops",
    "resolve_impl",
    "window_attention",
    "window_attention_with_lse",
]

_COMPOSED: dict[str, Callable[..., Tensor]] = {
    "sdpa": sdpa_window_attention,
    "flex": flex_window_attention,
    "flash": flash_window_attention,
    "chunks": chunked_attention,
}
NATIVE = ("reference", "cpu", "cuda")
IMPLEMENTATIONS = (*NATIVE, *_COMPOSED)


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: tuple[int, int],
    key_lengths: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
    impl: str = "auto",
    global_keys: int = 0,
) -> Tensor:
    """Softmax attention of every query to keys from `window[0]` before to `window[1]` after its own position.

    Args:
        query: (batch, heads, length, head_dim), float32, bfloat16 or float16; its last dimension is contiguous.
        key: (batch, key_heads, length, head_dim); key_heads divides heads, and query head h reads key head
            h // (heads // key_heads).
        value: like key.
        window: neighbours seen on the left and on the right, the query's own position not counted; (w, 0) is causal,
            and an integer w stands for (w, w).
        key_lengths: (batch,), int64: keys of a sequence from there on take no part. A query that sees no key gives
            zeros.
        scale: what scores are multiplied by; 1 / sqrt(head_dim) unless given.
        dropout_p: share of the weights that are dropped, in [0, 1).
        impl: auto, or one of `IMPLEMENTATIONS`. reference: plain loops, any head_dim, also float64; cpu: head_dim a
            multiple of 8 up to 256; cuda: 32, 64 or 128; sdpa: dense attention under a mask; flex: no dropout, and
            forward only on the host; flash: FlashAttention-2 on CUDA, in 16 bits, no key_lengths; chunks: equal sides
            of at least 1.
        global_keys: so many of the first keys are seen by every query whose window begins after them: global columns,
            or with a causal window attention sinks. They are meant to be few; flex, flash and chunks take none, and in
            float32 on CUDA PyTorch's products join them to the kernel's window.

    Returns:
        (batch, heads, length, head_dim) in the query's type. From a native implementation its transpose(1, 2) is
        contiguous, and gradients have their tensor's order of dimensions.

    Raises:
        UsageError: an argument does not fit, or the implementation cannot do what is asked.
    """
    if not torch.compiler.is_compiling():
        # One pass in C++ over the arguments of a native call; None where they need the words or the ways below.
        output = pyprof._window.call(query, key, value, window, key_lengths, scale, dropout_p, impl, global_keys, False)
        if output is not None:
            return output
    name = resolve_impl(impl, query)
    arguments = checked((query, key, value), window, key_lengths, scale, dropout_p, name, global_keys)
    if name in _COMPOSED:
        return _COMPOSED[name](query, key, value, arguments.window, **arguments.options())
    return _native(arguments, name)[0]


def window_attention_with_lse(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: tuple[int, int],
    key_lengths: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
    impl: str = "auto",
    global_keys: int = 0,
) -> tuple[Tensor, Tensor]:
    """`window_attention` with the natural logarithm of each query's sum of exponentials: (output, lse).

    lse is (batch, heads, length) in float32 (float64 for float64), -infinity where a query sees no key, untouched by
    dropout, and differentiable. Raises UsageError as `window_attention` does, and for implementations that are not
    native.
    """
    name = resolve_impl(impl, query)
    if name not in NATIVE:
        raise UsageError(f"impl {name!r} does not return the log-sum-exp: choose auto, {', '.join(NATIVE)}")
    if not torch.compiler.is_compiling():
        both = pyprof._window.call(query, key, value, window, key_lengths, scale, dropout_p, impl, global_keys, True)
        if both is not None:
            return both
    arguments = checked((query, key, value), window, key_lengths, scale, dropout_p, name, global_keys)
    return _native(arguments, name)


def _native(arguments: Arguments, name: str) -> tuple[Tensor, Tensor]:
    return with_columns(arguments, name) if needs_columns(arguments, name) else operator.call(arguments, name)


def resolve_impl(impl: str, query: Tensor) -> str:
    """The implementation that `impl` stands for with this query: `auto` is cpu on the host and cuda on CUDA.

    Raises UsageError for an unknown name and for one that cannot run on the query's device.
    """
    if impl != "auto" and impl not in IMPLEMENTATIONS:
        raise UsageError(f"impl {impl!r} is unknown: choose auto, {', '.join(IMPLEMENTATIONS)}")
    device = query.device.type
    if impl == "flash" and device != "cuda":
        raise UsageError(f"impl 'flash' cannot run on {device}, where query is: set impl='auto', or move query to cuda")
    if impl in _COMPOSED:
        return impl
    if impl == "auto" and device not in ("cpu", "cuda"):
        raise UsageError(f"no native implementation runs on {device}: move query to cpu or cuda, or set impl='sdpa'")
    name = device if impl == "auto" else impl
    if (device == "cuda") != (name == "cuda"):
        raise UsageError(f"impl {name!r} cannot run on {device}, where query is: set impl='auto', or move query")
    if name == "cuda" and not operator.HAS_CUDA:
        raise UsageError("impl 'cuda' is not built: install pyprof anew with PYPROF_CUDA=1, or set impl='sdpa'")
    return name

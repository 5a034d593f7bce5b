"""The operators `torch.ops.pyprof.window_attention`, `global_rows` and their backwards: loading, fakes, FLOP formulas.

Importing this loads the compiled library, which holds the schemas, autograd and the kernels for the host; under a
PyTorch with CUDA it loads the library with the CUDA kernels too, where that was built.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

import pyprof._window
from pyprof.errors import UsageError
from pyprof.ops.arguments import Arguments

HAS_CUDA = torch.version.cuda is not None and importlib.util.find_spec("pyprof._window_cuda") is not None
if HAS_CUDA:
    importlib.import_module("pyprof._window_cuda")

_FORWARD = torch.ops.pyprof.window_attention.default
_BACKWARD = torch.ops.pyprof.window_attention_backward.default
_ROWS = torch.ops.pyprof.global_rows.default
_ROWS_BACKWARD = torch.ops.pyprof.global_rows_backward.default


def cpu_isa(dtype: torch.dtype) -> str:
    """The instruction set that the host kernels use here for a type: portable, avx2, avx512, avx512_bf16 or amx.

    The environment variable PYPROF_CPU_ISA lowers it. Raises UsageError where that names what this CPU lacks.
    """
    try:
        return pyprof._window.cpu_isa(str(dtype).removeprefix("torch."))
    except ValueError as error:
        raise UsageError(str(error)) from error


cpu_isa(torch.float32)  # A wrong PYPROF_CPU_ISA is said here once, where a kernel could only throw.


def draw_seed(arguments: Arguments) -> Tensor | None:
    """A seed of dropout from PyTorch's generator of the query's device, so `torch.manual_seed` makes it repeatable."""
    if arguments.dropout_p == 0.0:
        return None
    return torch.randint(0, 2**63 - 1, (1,), dtype=torch.int64, device=arguments.query.device)


def call(arguments: Arguments, impl: str, seed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run a native implementation through torch.ops, as torch.compile traces it: (output, log-sum-exp).

    Where dropout has no seed, one is drawn.
    """
    seed = draw_seed(arguments) if seed is None else seed
    output, lse = _FORWARD(arguments.query, arguments.key, arguments.value, *_settings(arguments, impl, seed))
    return output, lse


def call_backward(
    arguments: Arguments,
    impl: str,
    seed: Tensor | None,
    tensors: tuple[Tensor, Tensor, Tensor],
    grad_output: Tensor,
    output: Tensor,
    lse: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value, which are `tensors`, of a call with these arguments."""
    settings = _settings(arguments, impl, seed)
    grad_query, grad_key, grad_value = _BACKWARD(grad_output, None, *tensors, output, lse, *settings)
    return grad_query, grad_key, grad_value


def global_rows(
    arguments: Arguments, seed: Tensor | None, rows: Tensor, keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """What queries (batch, heads, rows, head_dim) see of all keys, on the host: (output, statistics), in float32."""
    output, statistics = _ROWS(rows, keys, values, *_settings_of_rows(arguments, seed))
    return output, statistics


def global_rows_backward(
    arguments: Arguments,
    seed: Tensor | None,
    grad_output: Tensor,
    rows: Tensor,
    keys: Tensor,
    values: Tensor,
    output: Tensor,
    statistics: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of rows, in float32, of keys and of values."""
    tensors = (grad_output, rows, keys, values, output, statistics)
    grad_rows, grad_keys, grad_values = _ROWS_BACKWARD(*tensors, *_settings_of_rows(arguments, seed))
    return grad_rows, grad_keys, grad_values


def _settings_of_rows(arguments: Arguments, seed: Tensor | None) -> tuple[Any, ...]:
    return arguments.key_lengths, arguments.scale, arguments.dropout_p, seed


def _settings(arguments: Arguments, impl: str, seed: Tensor | None) -> tuple[Any, ...]:
    sized = (*arguments.window, arguments.key_lengths, arguments.scale, arguments.dropout_p)
    return (*sized, seed, impl, arguments.global_keys)


def visible_pairs(length: int, window: tuple[int, int], global_keys: int = 0) -> int:
    """How many (query, key) pairs a window and the first keys leave of length x length, clipped at the edges."""

    def below(side: int) -> int:
        side = min(side, max(length - 1, 0))
        return side * length - side * (side + 1) // 2

    # Query i sees `before` keys that lie before its window, of which the first ones are global.
    before = max(length - 1 - window[0], 0)
    leading = min(global_keys, before)
    return length + below(window[0]) + below(window[1]) + leading * before - leading * (leading - 1) // 2


def flops(
    batch: int,
    heads: int,
    length: int,
    head_dim: int,
    window: tuple[int, int],
    backward: bool = False,
    global_keys: int = 0,
) -> tuple[int, int]:
    """Floating-point operations of one call, a multiply-add counting as two: (useful, dense_equivalent).

    Useful ones belong to pairs inside the window and to the first `global_keys` keys before it; dense ones are what
    attention of all to all takes. Forward has two matrix products; backward five, since it computes the scores anew
    instead of keeping them (Dao, "FlashAttention-2", 2023, section 4.1, counts alike). The softmax is not counted, nor
    is what key lengths save.
    """
    per_pair = batch * heads * head_dim * (10 if backward else 4)
    return per_pair * visible_pairs(length, window, global_keys), per_pair * length**2


def _fake_forward(query: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    batch, heads, length, head_dim = query.shape
    output = query.new_empty(batch, length, heads, head_dim).transpose(1, 2)
    return output, query.new_empty(batch, heads, length, dtype=_statistics_type(query))


def _fake_backward(
    grad_output: Tensor, grad_lse: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_gradient(query), _fake_gradient(key), _fake_gradient(value)


def _fake_rows(rows: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    output = rows.new_empty(rows.shape, dtype=torch.float32)
    return output, output.new_empty((*rows.shape[:3], 2))


def _fake_rows_backward(
    grad_output: Tensor, rows: Tensor, key: Tensor, value: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return rows.new_empty(rows.shape, dtype=torch.float32), _fake_gradient(key), _fake_gradient(value)


def _fake_gradient(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor if tensor.stride(-1) == 1 else tensor.contiguous())


def _statistics_type(query: Tensor) -> torch.dtype:
    return torch.float64 if query.dtype == torch.float64 else torch.float32


torch.library.register_fake(_FORWARD, _fake_forward)
torch.library.register_fake(_BACKWARD, _fake_backward)
torch.library.register_fake(_ROWS, _fake_rows)
torch.library.register_fake(_ROWS_BACKWARD, _fake_rows_backward)


def _second_backward(ctx: Any, *_: Any) -> None:
    raise UsageError("window_attention has no second derivatives: take them of impl='sdpa', or drop create_graph=True")


torch.library.register_autograd(_BACKWARD, _second_backward)


def _flops(query: Any, window: tuple[int, int], backward: bool, *rest: Any) -> int:
    """`rest` is what follows the window among the operator's arguments."""
    batch, heads, length, head_dim = query
    global_keys = rest[5] if len(rest) > 5 else 0
    return flops(batch, heads, length, head_dim, window, backward, global_keys)[0]


@register_flop_formula(torch.ops.pyprof.window_attention)
def _forward_flops(query: Any, key: Any, value: Any, left: int, right: int, *rest: Any, **_: Any) -> int:
    return _flops(query, (left, right), False, *rest)


@register_flop_formula(torch.ops.pyprof.window_attention_backward)
def _backward_flops(grad_output: Any, grad_lse: Any, query: Any, *rest: Any, **_: Any) -> int:
    _key, _value, _output, _lse, left, right, *others = rest
    return _flops(query, (left, right), True, *others)


@register_flop_formula(torch.ops.pyprof.global_rows)
def _rows_flops(rows: Any, key: Any, *_: Any, **__: Any) -> int:
    return 4 * int(math.prod(rows)) * int(key[2])


@register_flop_formula(torch.ops.pyprof.global_rows_backward)
def _rows_backward_flops(grad_output: Any, rows: Any, key: Any, *_: Any, **__: Any) -> int:
    return 10 * int(math.prod(rows)) * int(key[2])

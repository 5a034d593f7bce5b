"""The implementations that are compared, by name. Masks and the like are prepared apart from the timing."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyprof import device as devices
from pyprof.attention.problem import Problem
from pyprof.errors import UsageError
from pyprof.failures import sentence
from pyprof.names import nearest
from pyprof.quantity import format_bytes

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

FLEX_BLOCKS = (16, 32, 64, 128)
# What building a dense mask takes at its highest, beside the mask, in bytes an element: distances and comparisons.
_MASK_WORK = 10


@dataclass(frozen=True)
class Variant:
    """One way to call an implementation for one problem, such as a block size. `state` is what was prepared for it."""

    attend: Attend
    label: str | None = None
    state: tuple[object, ...] = ()


@dataclass(frozen=True)
class Implementation:
    """An implementation by name. `variants` prepares it for a problem; of several the fastest one counts.

    `foreign` is set for a kernel of the user's. One that is not `windowed` computes something else, and is there for
    its time alone: every key is seen, or the window moves at the edges.
    """

    name: str
    variants: Callable[[Problem], Iterator[Variant]]
    foreign: bool = False
    windowed: bool = True


def names(device: str = "cpu") -> tuple[str, ...]:
    """The names of all implementations that can run on a device, pyprof's own first."""
    own = torch.device(devices.of(device).torch_name).type
    everywhere = (own, "sdpa", "chunks", "flex")
    return (*everywhere, "reference") if own == "cpu" else (*everywhere, *_ON_A_GPU)


def find(name: str, device: str = "cpu") -> Implementation:
    """The implementation of a name, `auto` being pyprof's own on this device; raises UsageError for an unknown one."""
    known = names(device)
    if name == "auto":
        name = known[0]
    if name not in known:
        raise UsageError(f"there is no implementation {name!r} on {device}: {nearest(name, known)}")
    peers = {"sdpa": _sdpa, "flex": _flex, **_ON_A_GPU}
    return Implementation(name, peers.get(name) or _operator(name), windowed=name not in _OF_SOMETHING_ELSE)


def _operator(name: str) -> Callable[[Problem], Iterator[Variant]]:
    """The operator of pyprof with an `impl`."""

    def variants(problem: Problem) -> Iterator[Variant]:
        from pyprof.ops.window_attention import window_attention

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return window_attention(
                query, key, value, window=problem.window, impl=name, global_keys=problem.global_keys
            )

        if name in _WITHOUT_GLOBAL_KEYS:
            _no_global_keys(problem, name)
        yield Variant(attend)

    return variants


def _sdpa(problem: Problem) -> Iterator[Variant]:
    """PyTorch's fused dense attention under a mask, which is added to the scores and made beforehand."""
    from pyprof.ops.sdpa import visible_keys

    length = problem.length
    _needs(problem, length * length * (problem.torch_dtype.itemsize + _MASK_WORK), "a dense mask")
    hidden = ~visible_keys(length, problem.window, device=problem.torch_device, global_keys=problem.global_keys)
    mask = torch.zeros(length, length, dtype=problem.torch_dtype, device=problem.torch_device)
    mask = mask.masked_fill_(hidden, -torch.inf)[None, None]

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    yield Variant(attend, state=(mask,))


def _flash(problem: Problem) -> Iterator[Variant]:
    """FlashAttention-2 with a window, as PyTorch ships it."""
    from pyprof.ops.flash import flash_window_attention

    _in_16_bits(problem)
    _no_global_keys(problem, "FlashAttention")

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return flash_window_attention(query, key, value, problem.window)

    yield Variant(attend)


def _dense(backend: str) -> Callable[[Problem], Iterator[Variant]]:
    """PyTorch's dense attention in one of its kernels: what a window has to beat to be worth it."""

    def variants(problem: Problem) -> Iterator[Variant]:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        _in_16_bits(problem)
        chosen = getattr(SDPBackend, backend)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            with sdpa_kernel(chosen):
                return torch.nn.functional.scaled_dot_product_attention(query, key, value)

        yield Variant(attend)

    return variants


def _flash_package(module: str, package: str, *, with_lse: bool = False) -> Callable[[Problem], Iterator[Variant]]:
    """A package of FlashAttention's, with its window; `with_lse` where the log-sum-exp comes after the output."""

    def variants(problem: Problem) -> Iterator[Variant]:
        function = _of_package(module, "flash_attn_func", package)
        _in_16_bits(problem)
        _no_global_keys(problem, "FlashAttention")

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            given = (tensor.transpose(1, 2) for tensor in (query, key, value))
            found = function(*given, window_size=problem.window)
            output: Tensor = found[0] if with_lse else found
            return output.transpose(1, 2)

        yield Variant(attend)

    return variants


def _natten(problem: Problem) -> Iterator[Variant]:
    """The package NATTEN in one dimension, whose window keeps its size at the edges."""
    function = _of_package("natten", "na1d", "natten")
    _no_global_keys(problem, "NATTEN")
    left, right = problem.window
    if left != right:
        raise NotImplementedError("NATTEN's window is as wide on both sides")

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        given = (tensor.transpose(1, 2).contiguous() for tensor in (query, key, value))
        output: Tensor = function(*given, kernel_size=2 * left + 1)
        return output.transpose(1, 2)

    yield Variant(attend)


def _of_package(module: str, name: str, package: str) -> Callable[..., Any]:
    """A function of a package that may not be installed; raises NotImplementedError where it is not."""
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NotImplementedError(f"{package} cannot be imported here ({sentence(error)})") from error
    return function


def _in_16_bits(problem: Problem) -> None:
    if problem.torch_dtype.itemsize != 2:
        raise NotImplementedError("FlashAttention and cuDNN compute in 16 bits: choose bfloat16 or float16")


def _no_global_keys(problem: Problem, what: str) -> None:
    if problem.global_keys:
        raise NotImplementedError(f"{what} has no global keys")


def _flex(problem: Problem) -> Iterator[Variant]:
    """FlexAttention, compiled for this very shape, with block masks of several sizes that are made beforehand."""
    from torch.nn.attention.flex_attention import flex_attention

    from pyprof.ops.flex import block_mask

    _no_global_keys(problem, "the block mask of flex")
    left, right = problem.window
    length, device = problem.length, problem.torch_device
    _needs(problem, length * length * _MASK_WORK, "FlexAttention's block mask")

    def variant(size: int) -> Variant:
        blocks = block_mask(length, problem.window, size, torch.device(device))

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return flex_attention(query, key, value, block_mask=blocks)

        compiled = _compiled(attend, f"flex_{length}_{left}_{right}_{size}")
        return Variant(compiled, f"block size {size}", _tensors(blocks.as_tuple()))

    for size in FLEX_BLOCKS:
        yield variant(size)


def _compiled(attend: Attend, name: str) -> Attend:
    """`attend` compiled for static shapes.

    torch.compile counts and limits what it compiles by code object, and all problems share the one of `attend`; each
    therefore gets a copy of it. Buffers must not be donated, since a backward is timed many times on one graph.
    """
    assert isinstance(attend, types.FunctionType)
    code = attend.__code__.replace(co_name=name)
    own = types.FunctionType(code, attend.__globals__, name, attend.__defaults__, attend.__closure__)
    compiled: Attend = torch.compile(own, fullgraph=True, dynamic=False)

    def call(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if not query.requires_grad:
            return compiled(query, key, value)
        if query.device.type == "cpu":
            raise NotImplementedError("FlexAttention has no backward on the host")
        with torch._functorch.config.patch(donated_buffer=False):
            return compiled(query, key, value)

    return call


def _tensors(values: Sequence[Any]) -> tuple[object, ...]:
    return tuple(value for value in values if isinstance(value, Tensor))


def _needs(problem: Problem, size: int, what: str) -> None:
    """Refuse what would not fit: the host's system grants such memory first and kills the process for using it."""
    budget = devices.of(problem.device).memory_budget()
    if size > budget.bytes:
        raise MemoryError(f"{what} over {problem.length:,} tokens takes {format_bytes(size)} to make, of {budget}")


# What runs on a GPU alone.
_ON_A_GPU: dict[str, Callable[[Problem], Iterator[Variant]]] = {
    "flash": _flash,
    "dense-flash": _dense("FLASH_ATTENTION"),
    "dense-cudnn": _dense("CUDNN_ATTENTION"),
    "flash-attn": _flash_package("flash_attn", "flash-attn"),
    "flash-attn-4": _flash_package("flash_attn.cute", "flash-attn-4", with_lse=True),
    "natten": _natten,
}
_WITHOUT_GLOBAL_KEYS = ("chunks",)
_OF_SOMETHING_ELSE = ("dense-flash", "dense-cudnn", "natten")

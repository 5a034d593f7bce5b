"""The arguments of window attention: every check of them, with one sentence for each that fails."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from pyprof.errors import UsageError

# What each implementation takes, of those that are choosy.
_TYPES = {
    "reference": (torch.float32, torch.bfloat16, torch.float16, torch.float64),
    "cpu": (torch.float32, torch.bfloat16, torch.float16),
    "cuda": (torch.float32, torch.bfloat16, torch.float16),
    "flash": (torch.bfloat16, torch.float16),
}
_WITHOUT_GLOBAL_KEYS = ("flex", "flash", "chunks")
_CUDA_HEAD_DIMS = (32, 64, 128)
_LARGEST_HEAD_DIM = 256  # of cpu and flash


@dataclasses.dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call after `checked`: see `pyprof.window_attention`."""

    query: Tensor
    key: Tensor
    value: Tensor
    window: tuple[int, int]
    key_lengths: Tensor | None
    scale: float
    dropout_p: float
    global_keys: int

    def options(self) -> dict[str, Any]:
        given = {"key_lengths": self.key_lengths, "scale": self.scale, "dropout_p": self.dropout_p}
        return {**given, "global_keys": self.global_keys} if self.global_keys else given


def checked(
    tensors: tuple[Tensor, Tensor, Tensor],
    window: Any,
    key_lengths: Tensor | None,
    scale: float | None,
    dropout_p: float,
    impl: str,
    global_keys: int = 0,
) -> Arguments:
    """The arguments, if implementation `impl` can compute them; raises UsageError, naming the one that does not fit.

    The values of key lengths are not checked, since that would wait for the device.
    """
    query, key, value = tensors
    _check_tensors(query, key, value)
    if impl in _TYPES:
        _check_type_and_head_dim(query, impl)
        for name, tensor in zip(("query", "key", "value"), tensors, strict=True):
            if tensor.stride(-1) != 1 and tensor.numel() > 0:
                raise UsageError(
                    f"{name} of shape {_shape(tensor)} has stride {tensor.stride(-1)} in its last dimension, which "
                    f"must be contiguous: pass {name}.contiguous()"
                )
    if key_lengths is not None:
        if impl == "flash":
            raise UsageError("impl 'flash' has no key lengths: set key_lengths=None, or choose impl='auto'")
        _check_key_lengths(key_lengths, query)
    if scale is not None and not math.isfinite(scale):
        raise UsageError(f"scale is {scale}: it must be a finite number, or None for 1 / sqrt(head_dim)")
    if not 0.0 <= dropout_p < 1.0:
        raise UsageError(f"dropout_p is {dropout_p}: it must be at least 0 and below 1")
    check_global_keys(global_keys)
    if global_keys and impl in _WITHOUT_GLOBAL_KEYS:
        raise UsageError(f"impl {impl!r} has no global keys: set global_keys=0, or choose impl='auto'")
    return Arguments(
        query,
        key,
        value,
        check_window(window),
        key_lengths,
        query.shape[-1] ** -0.5 if scale is None else float(scale),
        float(dropout_p),
        min(global_keys, 2**62),
    )


def check_global_keys(global_keys: Any) -> None:
    """Raise UsageError unless `global_keys` is a whole number of at least 0."""
    if not isinstance(global_keys, int) or isinstance(global_keys, bool) or global_keys < 0:
        raise UsageError(f"global_keys is {global_keys!r}: it must be a whole number of at least 0")


def check_window(window: Any) -> tuple[int, int]:
    """A window as a pair of integers; one integer stands for as many neighbours on both sides."""
    sides = (window, window) if isinstance(window, int) else window
    if not is_pair(sides):
        raise UsageError(f"window is {window!r}: it must be (left, right), two integers of at least 0")
    # Wider than any sequence, and still far from what 64 bits hold.
    return min(sides[0], 2**62), min(sides[1], 2**62)


def is_pair(value: Any) -> TypeGuard[Sequence[int]]:
    """Whether `value` is a window (left, right): a tuple or a list of two integers of at least 0."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) and side >= 0 for side in value)
    )


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _check_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
    if query.dim() != 4 or query.shape[3] == 0:
        raise UsageError(f"query has shape {_shape(query)}: it must be (batch, heads, length, head_dim)")
    if not query.is_floating_point():
        raise UsageError(f"query is {query.dtype}: it must be float32, bfloat16 or float16")
    batch, heads, length, head_dim = query.shape
    if key.dim() != 4 or (key.shape[0], key.shape[2], key.shape[3]) != (batch, length, head_dim):
        raise UsageError(
            f"key has shape {_shape(key)} and query {_shape(query)}: they may differ in their number of heads only"
        )
    if key.shape[1] != heads and (key.shape[1] == 0 or heads % key.shape[1] != 0):
        raise UsageError(f"key has {key.shape[1]} heads, which must divide the {heads} heads of query")
    if value.shape != key.shape:
        raise UsageError(f"value has shape {_shape(value)}: it must be key's shape, {_shape(key)}")
    for name, tensor in (("key", key), ("value", value)):
        if tensor.dtype != query.dtype or tensor.device != query.device:
            raise UsageError(
                f"{name} is {tensor.dtype} on {tensor.device}: it must be query's {query.dtype} on {query.device}"
            )


def _check_type_and_head_dim(query: Tensor, impl: str) -> None:
    if query.dtype not in _TYPES[impl]:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in _TYPES[impl])
        other = "set impl='reference'" if query.dtype == torch.float64 else "convert query, key and value"
        raise UsageError(f"query is {query.dtype} and impl {impl!r} takes {allowed}: {other}")
    head_dim = query.shape[3]
    if impl in ("cpu", "flash") and (head_dim % 8 != 0 or head_dim > _LARGEST_HEAD_DIM):
        other = {"cpu": "reference", "flash": "sdpa"}[impl]
        raise UsageError(
            f"query has shape {_shape(query)}, head_dim {head_dim}, and impl {impl!r} takes multiples of 8 up to "
            f"{_LARGEST_HEAD_DIM}: pad head_dim with zeros, or set impl={other!r}"
        )
    if impl == "cuda" and head_dim not in _CUDA_HEAD_DIMS:
        raise UsageError(
            f"query has shape {_shape(query)}, head_dim {head_dim}, and impl 'cuda' takes 32, 64 and 128: pad head_dim "
            "with zeros and keep the scale, or set impl='sdpa'"
        )


def _check_key_lengths(key_lengths: Tensor, query: Tensor) -> None:
    fits = key_lengths.dim() == 1 and key_lengths.shape[0] == query.shape[0] and key_lengths.dtype == torch.int64
    if not fits or key_lengths.device != query.device:
        raise UsageError(
            f"key_lengths has shape {_shape(key_lengths)}, {key_lengths.dtype}, on {key_lengths.device}: it must have "
            f"shape ({query.shape[0]},), int64, on {query.device}"
        )

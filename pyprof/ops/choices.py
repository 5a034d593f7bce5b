"""Which kernel of window attention runs for which problem: one table, which the launchers in C++ follow themselves.

The table is csrc/window_attention/choice.h, with the measurement that speaks for each of its lines.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal

import torch

import pyprof._window
from pyprof.errors import UsageError
from pyprof.ops.arguments import check_global_keys, check_window
from pyprof.ops.operator import cpu_isa

Direction = Literal["forward", "backward"]
_HALF = (torch.float16, torch.bfloat16)
_HOPPER = (9, 0)
_OLDEST = (8, 0)
_NAMED = ("hopper", "mma", "mma_one_pass")


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A line of the table of CUDA kernels: what a problem has to be for it, and what speaks for it.

    `head_dim` None is 32, 64 and 128; `narrowest` and `widest` are the least and the most neighbours of both sides
    together, None being no limit, where `in_eights` counts each side as the next multiple of 8; `own_keys`: no key head
    is shared; `no_dropout`; `global_keys`: they may be asked for; `hopper`: compute capability 9.0 alone, rows aligned
    to 16 bytes, and only where Hopper's kernels passed their trial on the card; `asked_for`: only where
    PYPROF_CUDA_KERNELS is its name.
    """

    kernel: str
    direction: Direction
    is_16_bit: bool
    head_dim: int | None
    narrowest: int
    widest: int | None
    in_eights: bool
    own_keys: bool
    no_dropout: bool
    global_keys: bool
    hopper: bool
    asked_for: bool
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What runs, and why; `otherwise` is what runs where Hopper's kernels do not pass their trial on the card."""

    impl: str
    kernel: str
    why: str
    otherwise: str | None = None


def choices() -> tuple[Line, ...]:
    """The table of CUDA kernels, in the order of preference: the first line that fits a problem is taken."""
    return tuple(Line(**line) for line in pyprof._window.choices())


def window_attention_choice(
    dtype: torch.dtype | str,
    head_dim: int,
    window: Any,
    *,
    direction: Direction = "forward",
    capability: tuple[int, int] | None = None,
    shared_keys: bool = False,
    dropout: bool = False,
    global_keys: int = 0,
) -> Choice:
    """Which kernel `window_attention(..., impl="auto")` takes.

    Args:
        dtype: of query, key and value: float32, bfloat16 or float16, as a name or a torch.dtype.
        head_dim: size of a head.
        window: (left, right), or one number for both.
        direction: forward or backward.
        capability: of the CUDA device, such as (9, 0); None is the host.
        shared_keys: whether several heads share a key head.
        dropout: whether weights are dropped.
        global_keys: how many of the first keys every later query sees too.

    Hopper's kernels are taken where they pass a trial on the very card, which happens by itself before the first
    problem that they are to run for (pyprof/ops/trial.py). The environment variable PYPROF_CUDA_KERNELS takes them
    without one ("hopper"), or never ("mma"); it is also what asks for a kernel that is not taken by itself
    ("mma_one_pass"). Raises UsageError where nothing runs, and says what does.
    """
    dtype = _dtype(dtype)
    left, right = check_window(window)
    check_global_keys(global_keys)
    if direction not in ("forward", "backward"):
        raise UsageError(f"direction is {direction!r}: it must be forward or backward")
    if capability is None:
        return _on_the_host(dtype, head_dim)
    if tuple(capability) < _OLDEST:
        raise UsageError(f"compute capability {_dotted(capability)} is too old: the CUDA kernels need 8.0 or newer")

    said = os.environ.get("PYPROF_CUDA_KERNELS") or None
    if said not in (None, *_NAMED):
        raise UsageError(f"PYPROF_CUDA_KERNELS is {said!r}: set it to hopper, mma or mma_one_pass, or leave it unset")

    def taken(hopper: bool) -> Line:
        asked = (hopper, said == "mma_one_pass")
        settings = (head_dim, left, right, not shared_keys, dropout, global_keys > 0, *asked)
        number = pyprof._window.choice(direction == "backward", dtype in _HALF, *settings)
        if number < 0:
            raise UsageError(f"head_dim is {head_dim}: impl 'cuda' takes 32, 64 and 128, or set impl='sdpa'")
        return choices()[number]

    line = taken(tuple(capability) == _HOPPER and said in (None, "hopper"))
    otherwise = taken(False).kernel if line.hopper and said is None else None
    return Choice("cuda", line.kernel, line.why, otherwise)


def _dtype(dtype: torch.dtype | str) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found not in (torch.float32, *_HALF):
        raise UsageError(f"dtype is {dtype}: window attention takes float32, bfloat16 and float16")
    assert isinstance(found, torch.dtype)
    return found


def _on_the_host(dtype: torch.dtype, head_dim: int) -> Choice:
    if head_dim % 8 != 0 or not 0 < head_dim <= 256:
        raise UsageError(f"head_dim is {head_dim}: impl 'cpu' takes multiples of 8 up to 256, or set impl='reference'")
    return Choice("cpu", cpu_isa(dtype), "the widest instructions of this processor; PYPROF_CPU_ISA lowers them")


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))

"""One point of the comparison, and the tensors that every implementation is given for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pyprof import device as devices
from pyprof.errors import UsageError
from pyprof.ops.arguments import check_global_keys, is_pair

DTYPES = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}
# Queries and keys times this have scores of a deviation of 36: a softmax that forgets the maximum overflows in float32,
# and one that rounds its exponents shows it.
LARGE = 6.0


@dataclass(frozen=True)
class Problem:
    """Sliding-window attention over `batch` sequences: `window` is (left, right), the neighbours on each side.

    The token itself is not counted in the window, and is always seen; (w, 0) is causal. The first `global_keys` keys
    are seen by all queries whose window begins after them. Raises UsageError for a size below one, a negative window
    or number of global keys, or an unknown dtype.
    """

    length: int
    window: tuple[int, int]
    batch: int = 1
    heads: int = 12
    head_dim: int = 64
    dtype: str = "float32"
    device: str = "cpu"
    global_keys: int = 0

    def __post_init__(self) -> None:
        for name in ("length", "batch", "heads", "head_dim"):
            if getattr(self, name) < 1:
                raise UsageError(f"the {name.replace('_', ' ')} has to be at least 1, not {getattr(self, name)}")
        if not is_pair(self.window):
            raise UsageError(f"a window is (left, right) neighbours, at least 0 each, not {self.window}")
        check_global_keys(self.global_keys)
        if self.dtype not in DTYPES:
            raise UsageError(f"there is no dtype {self.dtype!r} here: choose from {', '.join(DTYPES)}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.heads, self.length, self.head_dim

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = DTYPES[self.dtype]
        return dtype

    @property
    def torch_device(self) -> str:
        """Where the tensors lie, in PyTorch's words."""
        return devices.of(self.device).torch_name

    @property
    def tensor_bytes(self) -> int:
        """Bytes of the output, as of each of the inputs."""
        return self.batch * self.heads * self.length * self.head_dim * self.torch_dtype.itemsize

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "window": list(self.window)}

    def __str__(self) -> str:
        left, right = self.window
        keys = f", global keys {self.global_keys}" if self.global_keys else ""
        shape = f"{self.batch} x {self.heads} x {self.length:,} x {self.head_dim}"
        return f"{shape}, window {left}+{right}{keys}, {self.dtype}"


@dataclass(frozen=True)
class Inputs:
    """What an implementation gets, and the gradient that its backward starts from; all (B, H, L, D) and contiguous.

    `key_lengths` (B,) is None where all keys take part. `scale` is None for the default of 1 / sqrt(head_dim).
    """

    problem: Problem
    query: Tensor
    key: Tensor
    value: Tensor
    grad_output: Tensor
    key_lengths: Tensor | None = None
    scale: float | None = None

    @property
    def given_scale(self) -> float:
        return self.problem.head_dim**-0.5 if self.scale is None else self.scale


def make_inputs(problem: Problem, seed: int = 0, *, large: bool = False) -> Inputs:
    """Unit-normal tensors, the same for the same seed; with `large`, queries and keys are six times that."""
    generator = torch.Generator(problem.torch_device).manual_seed(seed)

    def normal(factor: float = 1.0) -> Tensor:
        made = torch.randn(problem.shape, generator=generator, device=problem.torch_device) * factor
        return made.to(problem.torch_dtype)

    factor = LARGE if large else 1.0
    return Inputs(problem, normal(factor), normal(factor), normal(), normal())

"""What PyTorch's allocators gave out and got back while a step ran, moment by moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError

HOST: Final = -1
"""The host in a sample's `device`; others are CUDA devices by their index."""
SAMPLE_DTYPE: Final = np.dtype(
    [("when", "i8"), ("bytes", "i8"), ("allocated", "i8"), ("reserved", "i8"), ("device", "i4")], align=True
)
# 40 bytes each; a training step of a base model has some thousands.
_ROOM: Final = 1 << 18


@dataclass(frozen=True)
class MemorySamples:
    """Allocations (`bytes` > 0) and frees (< 0) in the order in which they came, in SAMPLE_DTYPE.

    `when` is in nanoseconds. `allocated` is what was live after each: on the host of what had been allocated since the
    step began, on a CUDA device of everything that its allocator had given out; `reserved` is what that held. `lost`
    counts those that found no room.
    """

    samples: npt.NDArray[np.void]
    lost: int = 0


class MemoryLog:
    """Follows the memory of a step, for the recorder `is_native` or its twin, each of which has a clock of its own."""

    def __init__(self, is_native: bool) -> None:
        self._is_native = is_native
        self._last: MemorySamples | None = None

    @contextmanager
    def step(self, wanted: bool) -> Iterator[None]:
        """Around a step: follow what this thread allocates, and the autograd threads that work for it.

        Raises UsageError where that is wanted while torch.profiler runs, which takes the one place where PyTorch
        reports allocations.
        """
        if not wanted:
            yield
            self._last = None
            return
        from pyprof import _native

        later = 0 if self._is_native else time.perf_counter_ns() - _native.now()
        counter = _native.HostMemory(_ROOM)
        try:
            counter.__enter__()
        except RuntimeError as error:
            raise UsageError(str(error)) from error
        try:
            yield
        finally:
            counter.__exit__()
            kept = counter.samples()
            samples = np.asarray(kept["samples"]).astype(SAMPLE_DTYPE)
            samples["when"] += later
            self._last = MemorySamples(samples, int(kept["lost"]))

    def samples(self) -> MemorySamples | None:
        """Those of the step that ended last, None where its memory was not followed."""
        return self._last

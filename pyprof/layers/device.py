"""Layer times on a CUDA device: the probes record events on the stream, and their times are read once, after the
step.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from torch import nn

from pyprof.errors import UsageError

_MOST_EVENTS = 1 << 15


def runs_on_cuda(module: nn.Module) -> bool:
    """Whether any parameter or buffer of the module lies on a CUDA device."""
    return any(tensor.is_cuda for tensor in (*module.parameters(), *module.buffers()))


def load() -> ModuleType:
    """The CUDA part of pyprof; raises UsageError where it was not built."""
    try:
        return importlib.import_module("pyprof._cuda")
    except ImportError as error:
        raise UsageError(
            f"layer times on a GPU need the CUDA part of pyprof, which cannot be loaded ({error}): "
            "install pyprof with PYPROF_CUDA=1 and the CUDA toolkit at CUDA_HOME"
        ) from error


class DeviceTimes:
    """A pool of events, and the way back from their numbers to times."""

    def __init__(self, capacity: int) -> None:
        try:
            self._pool = load().EventPool(min(4 * capacity, _MOST_EVENTS))
        except RuntimeError as error:
            raise UsageError(f"{error}: free some device memory first") from error
        self.clock = self._pool.clock()
        self._placed = 0

    def place(self, drained: dict[str, Any]) -> dict[str, Any]:
        """The drained intervals with the times of their stamps, which are numbered on from those drained before.

        Those whose events found no room count as dropped. Waits for the device. Raises UsageError when the device has
        failed.
        """
        try:
            times = self._pool.resolve()
        except RuntimeError as error:
            raise UsageError(f"{error}: the device has failed, so start a new process") from error
        placed = {**drained, "device_times": times}
        for name in ("spans", "nodes"):
            entries = drained[name]
            placed[name] = entries[(entries["device_begin"] >= 0) & (entries["device_end"] >= 0)]
            placed["dropped"] += len(entries) - len(placed[name])
            for end in ("device_begin", "device_end"):
                placed[name][end] += self._placed
        self._placed += len(times)
        return placed

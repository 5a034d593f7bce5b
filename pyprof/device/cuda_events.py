"""Times by CUDA events: around whole calls, and around layers where CUPTI cannot be had or nobody wants it."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

from pyprof.device import cupti
from pyprof.errors import UsageError
from pyprof.quantity import plural

if TYPE_CHECKING:
    from pyprof.timing.clock import Call, Clock

# CUDA states a resolution of about half a microsecond for the time between two events.
_RESOLUTION_NS = 500
_MOST_EVENTS = 1 << 15


class CudaStopwatch:
    """Times by CUDA events around the calls, on the device's current stream.

    The device is idle when the first event is recorded, so that earlier work isn't counted. The time covers the gaps in
    which the device waits for the host's launches, as in the study of 2023.
    """

    resolution_ns = _RESOLUTION_NS

    def __init__(self, device: Any, clock: Clock | None = None, cuda: Any = None) -> None:
        from pyprof.timing.clock import MonotonicClock

        self.clock: Clock = MonotonicClock() if clock is None else clock
        self._device = device
        self._cuda = torch_cuda() if cuda is None else cuda

    def time(self, fn: Call, repeats: int) -> int:
        with self._cuda.device(self._device):
            begin = self._cuda.Event(enable_timing=True)
            end = self._cuda.Event(enable_timing=True)
            self._cuda.synchronize()
            begin.record()
            for _ in repeat(None, repeats):
                fn()
            end.record()
            end.synchronize()
        return round(float(begin.elapsed_time(end)) * 1e6)  # milliseconds to nanoseconds


class EventTimes:
    """Layer times: the probes record events on the stream from a pool, and their times are read once, after the step.

    Raises UsageError without the CUDA part of pyprof, or where the device has no room for the events.
    """

    def __init__(self, capacity: int) -> None:
        self.captured = 0
        try:
            self._pool = cupti.load().EventPool(min(4 * capacity, _MOST_EVENTS))
        except RuntimeError as error:
            raise UsageError(f"{error}: free some device memory first") from error
        self.clock: object = self._pool.clock()

    def place(self, drained: dict[str, Any]) -> dict[str, Any]:
        """The drained intervals with the times of their events; see ``LayerTimes.place``.

        Those whose events found no room in the pool count as dropped. `captured` counts those that ran while their
        stream was being captured into a graph, where no event has a time.
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
        captured = min((self._pool.take_captured() + 1) // 2, placed["dropped"] - drained["dropped"])
        self.captured += captured
        placed["dropped"] -= captured
        return placed

    def notes(self) -> tuple[str, ...]:
        """What a reader of the times has to know."""
        said = [
            "layer times are from events around each layer: where kernels fill less of the step they are the times "
            "of its launches"
        ]
        if self.captured:
            said.append(f"{plural(self.captured, 'call')} were captured into a graph, where events have no time")
        return tuple(said)


def torch_cuda() -> Any:
    """PyTorch's part for CUDA, which is loaded when something is asked of it."""
    import torch

    return torch.cuda

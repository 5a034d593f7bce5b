"""The time of a call on a device that works beside the host: its work's own, with the caches flushed before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from pyprof.device import Device
from pyprof.device.cupti import INSTEAD
from pyprof.errors import UsageError
from pyprof.timing.clock import Call, Clock

_HOST_CALLS = 15


@dataclass
class KernelStopwatch:
    """Times what a device does for a call, and nothing that the host does.

    By the records of its work ("kernels"); where these cannot be had, a graph of the call is replayed behind other work
    and timed by events ("graph"); a call that cannot be captured is timed by events as it is, so that its launches may
    be in its time ("events"). `reason` says why there are no records. The cache is flushed before each call, outside of
    what is timed.
    """

    device: Device
    resolution_ns: int = 1
    reason: str | None = None
    _replays: dict[Call, Call | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock: Clock = self.device.stopwatch().clock
        try:
            self.device.busy_ns(lambda: None)
        except UsageError as error:
            self.reason = str(error).removesuffix(INSTEAD)  # as it is not what is done here

    def timed_by(self, call: Call) -> str:
        """How the call is timed: kernels, graph or events."""
        if self.reason is None:
            return "kernels"
        return "events" if self._captured(call) is None else "graph"

    def time(self, fn: Call, repeats: int) -> int:
        """Nanoseconds of some calls."""
        return sum(self._once(fn) for _ in range(repeats))

    def _once(self, fn: Call) -> int:
        if self.reason is None:
            self.device.flush_cache()
            return self.device.busy_ns(fn)
        replay = self._captured(fn)
        return self.device.queued_ns(fn if replay is None else replay)

    def _captured(self, fn: Call) -> Call | None:
        if fn not in self._replays:
            try:
                self._replays[fn] = self.device.capture(fn)
            except UsageError:
                self._replays[fn] = None
        return self._replays[fn]


def host_seconds(device: Device, call: Callable[[], object], clock: Clock) -> float:
    """How long the host takes for a call that it does not wait for: the median of some, the device idle before each."""
    samples = []
    for _ in range(_HOST_CALLS):
        device.synchronize()
        begin = clock.now_ns()
        call()
        samples.append(clock.now_ns() - begin)
    device.synchronize()
    return median(samples) * 1e-9


class InTurn:
    """A call that is another one of some each time, on inputs of its own."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls
        self._next = 0

    def __call__(self) -> object:
        call = self._calls[self._next % len(self._calls)]
        self._next += 1
        return call()

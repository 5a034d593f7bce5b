"""Time: a clock that can be injected, and the stopwatch that times a call by it. A device may have one of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import Protocol

from pyprof import _stopwatch

Call = Callable[[], object]

# The share of the precision that is asked for by which the clock's resolution may blur a reading.
_BLUR = 0.1


@dataclass(frozen=True)
class Renewing:
    """A call that needs something made anew before each time: `renew` does it, outside of what is timed."""

    call: Call
    renew: Call

    def __call__(self) -> object:
        return self.renewed()()

    def renewed(self) -> Call:
        """What is to be called next, and once."""
        self.renew()
        return self.call


@dataclass(frozen=True)
class SelfTimed:
    """Work of other processes, which time it themselves: `take` has so many calls made, and tells their nanoseconds."""

    take: Callable[[int], int]

    def __call__(self) -> object:
        return self.take(1)


class Clock(Protocol):
    """Something that tells a time that never goes back, in integer nanoseconds."""

    def now_ns(self) -> int: ...


class MonotonicClock:
    """The clock of this process: `time.perf_counter_ns`."""

    # Bound as it is, so that a reading costs no Python call.
    now_ns = staticmethod(time.perf_counter_ns)


class Stopwatch(Protocol):
    """What times calls. `clock` is the host's time, by which budgets are kept whatever the stopwatch measures."""

    @property
    def clock(self) -> Clock: ...

    @property
    def resolution_ns(self) -> int:
        """The smallest difference that the stopwatch can tell, in nanoseconds, its own reading time included."""
        ...

    def time(self, fn: Call, repeats: int) -> int:
        """Nanoseconds that `repeats` calls of `fn`, one after the other, took together."""
        ...


class HostStopwatch:
    """Times by the host's clock. `synchronize` is called before each stamp, for work that a call only queues.

    The process's own clock is read by native code right around the calls: after long work the caches are cold, and
    each page of the interpreter that stands between the last call and the stamp would cost up to a microsecond.
    """

    def __init__(self, clock: Clock | None = None, synchronize: Call | None = None) -> None:
        self.clock: Clock = MonotonicClock() if clock is None else clock
        self._synchronize = synchronize
        self._native = isinstance(self.clock, MonotonicClock) and synchronize is None
        self.resolution_ns = empty_ns(self, 0) if self._native else clock_step_ns(self.clock)

    def time(self, fn: Call, repeats: int) -> int:
        if self._native:
            return _stopwatch.time_calls(fn, repeats)
        now, synchronize = self.clock.now_ns, self._synchronize
        calls = repeat(None, repeats)
        if synchronize is not None:
            synchronize()
        begin = now()
        for _ in calls:
            fn()
        if synchronize is not None:
            synchronize()
        return now() - begin


def clock_step_ns(clock: Clock, readings: int = 200) -> int:
    """The smallest step seen between successive readings of the clock, in nanoseconds; 1 where it stood still.

    A step holds the time of a reading too. A clock that stands still is one that moves only with the work, in a test.
    """
    times = [clock.now_ns() for _ in range(readings)]
    steps = [later - earlier for earlier, later in pairwise(times) if later > earlier]
    return min(steps, default=1)


def shortest_reading_ns(stopwatch: Stopwatch, precision: float) -> float:
    """How long a reading has to be for the stopwatch's resolution to blur it by a tenth of the precision at most."""
    return stopwatch.resolution_ns / (_BLUR * precision)


def time_calls(stopwatch: Stopwatch, fn: Call, repeats: int = 1) -> int:
    """Nanoseconds of `repeats` calls with Python's garbage collector held off; it is left as it was found.

    A collection would otherwise fall into some sample by chance. Between two readings the collector is on again, so
    that reference cycles cannot pile up over a long measurement; a step's own share of collecting is thus not timed.
    What a `Renewing` makes anew lies between its calls, each of which is timed by itself.
    """
    if isinstance(fn, SelfTimed):
        return fn.take(repeats)
    collecting = gc.isenabled()
    gc.disable()
    try:
        if isinstance(fn, Renewing):
            return sum(stopwatch.time(fn.renewed(), 1) for _ in range(repeats))
        return stopwatch.time(fn, repeats)
    finally:
        if collecting:
            gc.enable()


def empty_ns(stopwatch: Stopwatch, repeats: int, readings: int = 25) -> int:
    """What a reading of as many calls that do nothing takes by the host's clock, in nanoseconds: its least.

    It is the cost of the stopwatch, the loop and the calls themselves. By a device's events it is not known, and 0:
    there the host's part lies beside the device's work.
    """
    if not isinstance(stopwatch, HostStopwatch):
        return 0
    return min(time_calls(stopwatch, _NOTHING, repeats) for _ in range(readings))


# A call without arguments into native code, with as little behind it as there is.
_NOTHING: Call = gc.isenabled

"""The energy of a repeated call: counters are read at their ticks, and what the idle device takes comes off."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pyprof.device.base import EnergyMeter
from pyprof.errors import UsageError

# NVML's counter ticks every 20 to 100 ms and RAPL's every one: a window of seconds holds many ticks.
WINDOW = 3.0
IDLE = 1.0
# A counter that has not moved for so long counts nothing.
_STUCK = 5.0
_PAUSE = 0.002


@dataclass(frozen=True)
class EnergyReading:
    """What a call used: `watts` on average while calls went on without a pause, `idle_watts` before them.

    `joules` are those of one call without what the idle device would have used meanwhile; `gross_joules` with it.
    `seconds` is the time of one call, `window` that of all `calls` that the average is of.
    """

    joules: float
    gross_joules: float
    watts: float
    idle_watts: float
    seconds: float
    window: float
    calls: int


def measure_energy(
    meter: EnergyMeter,
    call: Callable[[], object],
    *,
    window: float = WINDOW,
    idle: float = IDLE,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> EnergyReading:
    """Measure `call`, which has to have done its work when it returns, over a window of seconds.

    Both ends of the idle time and of the window are ticks of the counter, so that neither holds a part of a tick.
    Raises UsageError where the counter stands still.
    """
    ticks = _Ticks(meter, clock)
    begin = ticks.next(lambda: sleep(_PAUSE))
    while clock() - begin[0] < idle:
        sleep(_PAUSE)
    end = ticks.next(lambda: sleep(_PAUSE))
    idle_watts = (end[1] - begin[1]) / (end[0] - begin[0])
    call()
    begin = ticks.next(call)
    calls, started = 0, clock()
    while clock() - begin[0] < window:
        call()
        calls += 1
    seconds = (clock() - started) / max(calls, 1)
    end = ticks.next(call)
    watts = (end[1] - begin[1]) / (end[0] - begin[0])
    return EnergyReading(
        joules=(watts - idle_watts) * seconds,
        gross_joules=watts * seconds,
        watts=watts,
        idle_watts=idle_watts,
        seconds=seconds,
        window=end[0] - begin[0],
        calls=calls,
    )


@dataclass
class _Ticks:
    meter: EnergyMeter
    clock: Callable[[], float]

    def next(self, meanwhile: Callable[[], object]) -> tuple[float, float]:
        """The moment at which the counter moves next, and what it says then; `meanwhile` is done until it does."""
        before, begin = self.meter.joules(), self.clock()
        while True:
            meanwhile()
            now = self.meter.joules()
            if now != before:
                return self.clock(), now
            if self.clock() - begin > _STUCK:
                raise UsageError(f"the counter of {self.meter.name} stands still: its energy cannot be measured")

"""Warming up: call until a reading is long enough for the clock and the readings show no trend any more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pyprof.errors import UsageError
from pyprof.timing.clock import Call, Stopwatch, time_calls

# A reading is stretched half beyond the shortest allowed, so that a slightly faster one still suffices.
_MARGIN = 1.5
# No real call is so short that it needs more repeats than this; a clock that stands still in a test would.
_MOST_REPEATS = 1_000_000
_TREND_READINGS = 5
# Of the ten pairs among five readings, concordant less discordant ones; pure noise gets here in one of twelve cases.
_TREND_SCORE = 8


@dataclass(frozen=True)
class Warmup:
    """How long to warm up: until no trend is left, for at most `max_readings` and `max_seconds`, but for one call.

    A call is not begun when it would probably end beyond `max_seconds`; a minute-long step warms up with one call.
    A change of less than `tolerance` over the last readings is no trend.
    """

    max_readings: int = 25
    max_seconds: float = 1.0
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        if self.max_readings < 1 or self.max_seconds < 0 or self.tolerance < 0:
            raise UsageError("a warm-up needs at least one reading, and no negative time or tolerance")


@dataclass(frozen=True)
class Warmed:
    """What the warm-up found: its readings in nanoseconds per call, and how many calls make one reading long enough."""

    readings: tuple[int, ...]
    repeats: int


@dataclass
class _Readings:
    """The readings so far; those of a former number of repeats are kept apart, as they cannot show a trend."""

    repeats: int = 1
    readings: list[int] = field(default_factory=list)
    comparable: list[int] = field(default_factory=list)

    def add(self, nanoseconds: int, shortest_ns: float, resolution_ns: int) -> bool:
        """Note a reading; returns whether it was long enough, and raises the number of repeats where it was not."""
        self.readings.append(round(nanoseconds / self.repeats))
        self.comparable.append(nanoseconds)
        if nanoseconds >= shortest_ns or self.repeats == _MOST_REPEATS:
            return True
        stretch = _MARGIN * shortest_ns / max(nanoseconds, resolution_ns)
        self.repeats = min(math.ceil(self.repeats * stretch), _MOST_REPEATS)
        self.comparable.clear()
        return False


def warm_up(fn: Call, stopwatch: Stopwatch, warmup: Warmup, shortest_ns: float) -> Warmed:
    """Call `fn` until it is warm and a reading takes at least `shortest_ns`, by repeating the call within a reading."""
    seen = _Readings()
    begin = stopwatch.clock.now_ns()
    while True:
        before = stopwatch.clock.now_ns()
        nanoseconds = time_calls(stopwatch, fn, seen.repeats)
        after = stopwatch.clock.now_ns()
        long_enough = seen.add(nanoseconds, shortest_ns, stopwatch.resolution_ns)
        # Even a warm-up that is over goes on until a reading is long enough, which takes a few readings of that length.
        spent = len(seen.readings) >= warmup.max_readings or (
            2 * after - before - begin > warmup.max_seconds * 1e9  # the next call would end beyond the limit
        )
        if long_enough and (spent or _is_settled(seen.comparable, warmup.tolerance)):
            return Warmed(tuple(seen.readings), seen.repeats)


def _is_settled(readings: Sequence[int], tolerance: float) -> bool:
    """Whether the last readings neither fall nor rise: Kendall's score of their order is small, or their change is."""
    if len(readings) < _TREND_READINGS:
        return False
    last = readings[-_TREND_READINGS:]
    if abs(last[-1] - last[0]) <= tolerance * last[-1]:
        return True
    score = sum((later > earlier) - (later < earlier) for i, earlier in enumerate(last) for later in last[i + 1 :])
    return abs(score) < _TREND_SCORE

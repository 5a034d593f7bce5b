"""How steady a machine's speed is: a short fixed work timed over and over, and what comparisons can expect from it."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from pyprof.statistics.estimate import median, quantile
from pyprof.statistics.ranks import detectable
from pyprof.timing.clock import Call, Stopwatch, time_calls
from pyprof.timing.watch import AnyWatch, NoWatch

# Fewer pairs than these tell little about how they scatter.
_FEWEST_PAIRS = 10
_SLOWEST = 0.1


@dataclass(frozen=True)
class Steadiness:
    """Nanoseconds that one and the same work took in readings that followed each other without a break.

    `hits` are the readings' flags of ``pyprof.records.noise.Hit``.
    """

    readings: tuple[int, ...]
    hits: tuple[int, ...] = ()

    @property
    def typical_seconds(self) -> float:
        return median(self.readings) * 1e-9

    @property
    def spread(self) -> float:
        """The median of the slowest tenth over the fastest reading: 1 on a machine that is perfectly steady."""
        return quantile(self.readings, 1 - _SLOWEST / 2) / min(self.readings)

    def blocks(self, step_seconds: float) -> int:
        """How many readings make up about one step of this length, at least one."""
        return max(1, round(step_seconds / self.typical_seconds))

    def detectable(self, step_seconds: float, budget_seconds: float, seed: int = 0) -> float | None:
        """The smallest relative difference between two steps that a comparison of `budget_seconds` probably shows.

        The steps are those many readings that take about `step_seconds`; neighbouring ones are a pair in random order,
        as `pyprof.compare` takes them. The difference is the one that this much data shows in four of five cases by
        the interval of Hodges and Lehmann, brought from the time of the readings to the budget: it shrinks with the
        root of the number of pairs. None where the readings make fewer than ten pairs.
        """
        block = self.blocks(step_seconds)
        steps = len(self.readings) // block // 2 * 2
        if steps < 2 * _FEWEST_PAIRS:
            return None
        sums = np.asarray(self.readings[: steps * block], dtype=np.float64).reshape(steps, block).sum(axis=1)
        order = random.Random(seed)
        signs = np.array([order.choice((-1, 1)) for _ in range(steps // 2)])
        least = detectable(np.log(sums[1::2] / sums[::2]) * signs)
        return float(np.expm1(least * np.sqrt(sums.sum() * 1e-9 / budget_seconds)))


def steadiness(work: Call, stopwatch: Stopwatch, seconds: float, watch: AnyWatch | None = None) -> Steadiness:
    """Time the work over and over for so many seconds, after a first call that isn't counted; at least two readings."""
    watch = NoWatch() if watch is None else watch
    work()
    readings: list[int] = []
    hits: list[int] = []
    end = stopwatch.clock.now_ns() + round(seconds * 1e9)
    while len(readings) < 2 or stopwatch.clock.now_ns() < end:
        watch.begin()
        readings.append(max(1, time_calls(stopwatch, work)))
        hits.append(watch.end())
    return Steadiness(tuple(readings), tuple(hits))

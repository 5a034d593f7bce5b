"""When to stop sampling: small rules over what has been sampled so far."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Protocol

import numpy as np

from pyprof.records.noise import NOTHING, SystemTime
from pyprof.statistics.dependence import dependence
from pyprof.statistics.estimate import Estimate, Samples, median_ranks
from pyprof.statistics.sequential import LOOKED_AT, PrecisionLooks
from pyprof.timing.settling import settled
from pyprof.timing.watch import AnyWatch
from pyprof.timing.yardstick import undisturbed


class Series:
    """The samples so far, nanoseconds of `repeats` calls each, and the host's time that they took.

    Those before `begin` turned out to be warm-up, and `changing` says whether the level was still moving, both as of
    the last `settle`. `reference` tells the time of a yardstick around each of so many samples.
    """

    def __init__(self, repeats: int, reference: Callable[[int], Samples] | None = None) -> None:
        self.repeats = repeats
        self.samples: list[int] = []
        self.hits: list[int] = []
        self.waits: list[int] = []
        self.others_waits: list[int | None] = []
        self.system: list[SystemTime] = []
        self.elapsed_ns = 0
        self.begin = 0
        self.changing = False
        self._reference = reference
        self._sorted: list[int] = []

    def add(self, nanoseconds: int, elapsed_ns: int, hit: int = 0, watch: AnyWatch | None = None) -> None:
        """Note a sample, the host's time since sampling began, and what the watch saw during it."""
        self.samples.append(nanoseconds)
        self.hits.append(hit)
        self.waits.append(0 if watch is None else watch.waited_ns)
        self.others_waits.append(None if watch is None else watch.others_waited_ns)
        self.system.append(NOTHING if watch is None else watch.system)
        insort(self._sorted, nanoseconds)
        self.elapsed_ns = elapsed_ns

    @property
    def count(self) -> int:
        return len(self.samples)

    @property
    def count_settled(self) -> int:
        """How many samples are no warm-up."""
        return self.count - self.begin

    def settle(self) -> None:
        """Find out from all samples that no noise has hit which of them are warm-up."""
        kept = undisturbed(self.hits).nonzero()[0]
        times = np.maximum(np.asarray(self.samples, dtype=np.float64)[kept], 1)  # a coarse clock may stand still
        references = [] if self._reference is None else [np.asarray(self._reference(self.count))[kept]]
        level = settled(times, references)
        self.changing = level.changing
        begin = int(kept[level.begin]) if level.begin else 0
        if begin != self.begin:
            self.begin = begin
            self._sorted = sorted(self.samples[begin:])

    @property
    def elapsed_seconds(self) -> float:
        return self.elapsed_ns / 1e9

    def estimate(self) -> Estimate:
        """The median of a warm call so far, in seconds, with its interval, wider where samples depend on each other."""
        ordered, count = self._sorted, self.count_settled
        to_seconds = 1e-9 / self.repeats
        middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2 * to_seconds
        ranks = median_ranks(count, LOOKED_AT, dependence(self.samples[self.begin :]))
        if ranks is None:
            return Estimate(middle)
        return Estimate(middle, ordered[ranks[0] - 1] * to_seconds, ordered[ranks[1] - 1] * to_seconds)


class StoppingRule(Protocol):
    """One reason to stop, with the name under which a measurement reports it. It may keep a state, for one series."""

    @property
    def name(self) -> str: ...

    def reached(self, series: Series) -> bool: ...


class PrecisionReached:
    """Stop when half of the median's interval is at most `precision` times the median.

    There are at least `min_samples`; see `PrecisionLooks` for when it looks.
    """

    name = "precision"

    def __init__(self, precision: float, min_samples: int) -> None:
        self._looks = PrecisionLooks(precision, min_samples)
        self._min_samples = min_samples

    def reached(self, series: Series) -> bool:
        return self._looks.is_due(series.count) and self.holds(series)

    def holds(self, series: Series) -> bool:
        """Look now: whether the samples suffice that are no warm-up."""
        series.settle()
        return self._looks.look(series.count, [series.estimate()]) and series.count_settled >= self._min_samples


class SampleLimit:
    """Stop at `max_samples`."""

    name = "samples"

    def __init__(self, max_samples: int) -> None:
        self._max_samples = max_samples

    def reached(self, series: Series) -> bool:
        return series.count >= self._max_samples


class TimeBudget:
    """Stop when another sample, as long as the mean of those before, would end beyond the budget.

    Below `min_samples` up to `overrun` times the budget may be spent; beyond that there are fewer, down to one.
    """

    name = "time"

    def __init__(self, max_seconds: float, min_samples: int, overrun: float = 2.0) -> None:
        self._max_ns = max_seconds * 1e9
        self._min_samples = min_samples
        self._overrun = overrun

    def reached(self, series: Series) -> bool:
        limit = self._max_ns if series.count >= self._min_samples else self._max_ns * self._overrun
        return series.elapsed_ns * (1 + 1 / series.count) > limit

"""When to stop sampling: small rules over what has been sampled so far."""

from __future__ import annotations

from bisect import insort
from typing import Protocol

from pyprof.statistics.dependence import dependence
from pyprof.statistics.estimate import Estimate, median_ranks
from pyprof.statistics.sequential import LOOKED_AT, PrecisionLooks


class Series:
    """The samples so far, nanoseconds of `repeats` calls each, and the host's time that they took."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.samples: list[int] = []
        self.hits: list[int] = []
        self.elapsed_ns = 0
        self._sorted: list[int] = []

    def add(self, nanoseconds: int, elapsed_ns: int, hit: int = 0) -> None:
        """Note a sample, the host's time since sampling began, and the noise that was seen during it."""
        self.samples.append(nanoseconds)
        self.hits.append(hit)
        insort(self._sorted, nanoseconds)
        self.elapsed_ns = elapsed_ns

    @property
    def count(self) -> int:
        return len(self.samples)

    @property
    def elapsed_seconds(self) -> float:
        return self.elapsed_ns / 1e9

    def estimate(self) -> Estimate:
        """The median of one call so far, in seconds, with its interval, wider where samples depend on each other."""
        ordered, count = self._sorted, self.count
        to_seconds = 1e-9 / self.repeats
        middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2 * to_seconds
        ranks = median_ranks(count, LOOKED_AT, dependence(self.samples))
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

    There are at least `min_samples`, and at least `min_seconds` have passed; see `PrecisionLooks` for when it looks.
    """

    name = "precision"

    def __init__(self, precision: float, min_samples: int, min_seconds: float = 0.0) -> None:
        self._looks = PrecisionLooks(precision, min_samples)
        self._min_seconds = min_seconds

    def reached(self, series: Series) -> bool:
        if series.elapsed_seconds < self._min_seconds or not self._looks.is_due(series.count):
            return False
        return self._looks.look(series.count, [series.estimate()])


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

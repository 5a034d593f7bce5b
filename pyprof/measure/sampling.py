"""Measure how long a call takes: warm up, sample until a rule says stop, and say how sure the result is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyprof.errors import UsageError
from pyprof.measure.clock import Call, HostStopwatch, Stopwatch, time_calls
from pyprof.measure.quantity import format_seconds
from pyprof.measure.statistics import Estimate, estimate_median
from pyprof.measure.stopping import PrecisionReached, SampleLimit, Series, StoppingRule, TimeBudget
from pyprof.measure.warmup import Warmup, warm_up

# The clock's resolution may blur a sample by a tenth of the precision that is asked for.
_BLUR = 0.1


@dataclass(frozen=True)
class Measurement:
    """How long one call takes, in seconds: the median, its 95 % interval, and the raw samples behind it.

    `samples` are nanoseconds of `repeats` calls each: one call, or more where one is too short for the clock. `warmup`
    are the readings before, in nanoseconds per call. `stopped_by` names the rule that ended the sampling: precision,
    samples or time. `low` and `high` are None where there are too few samples for an interval.
    """

    samples: tuple[int, ...]
    repeats: int
    warmup: tuple[int, ...]
    stopped_by: str

    @cached_property
    def estimate(self) -> Estimate:
        return estimate_median(self.samples_seconds)

    @property
    def median(self) -> float:
        return self.estimate.value

    @property
    def low(self) -> float | None:
        return self.estimate.low

    @property
    def high(self) -> float | None:
        return self.estimate.high

    @property
    def interval(self) -> tuple[float, float] | None:
        return self.estimate.interval

    @cached_property
    def samples_seconds(self) -> tuple[float, ...]:
        """Seconds per call, one for each sample."""
        return tuple(nanoseconds / self.repeats / 1e9 for nanoseconds in self.samples)

    def __str__(self) -> str:
        count = f"{len(self.samples)} sample{'s' if len(self.samples) > 1 else ''}"
        if self.interval is None:
            return f"{format_seconds(self.median)} ({count}, too few for an interval)"
        low, high = map(format_seconds, self.interval)
        return f"{format_seconds(self.median)} (95 % interval {low} to {high}, {count})"


def measure(
    fn: Call,
    *,
    precision: float = 0.01,
    min_samples: int = 6,
    max_samples: int = 1000,
    max_seconds: float = 10.0,
    warmup: Warmup | None = None,
    stopwatch: Stopwatch | None = None,
    progress: Callable[[Series], None] | None = None,
) -> Measurement:
    """Measure how long a call of `fn` takes.

    After the warm-up, sampling ends as soon as half of the width of the median's 95 % interval is at most `precision`
    times the median, at `max_samples`, or when another sample would end beyond `max_seconds`. There are at least
    `min_samples`, unless these would take more than twice `max_seconds`; six are the fewest that give an interval.
    Calls too short for the clock are repeated within a sample. The garbage collector is held off within samples.
    `stopwatch` is the host's clock by default (`pyprof.measure.clock.stopwatch_for` knows the right one of a device);
    `progress` is called after each sample. Exceptions of `fn` pass through. Raises UsageError for senseless limits.
    """
    _check(precision, min_samples, max_samples, max_seconds)
    stopwatch = HostStopwatch() if stopwatch is None else stopwatch
    shortest_ns = stopwatch.resolution_ns / (_BLUR * precision)
    warmed = warm_up(fn, stopwatch, Warmup() if warmup is None else warmup, shortest_ns)
    rules = (
        PrecisionReached(precision, min_samples),
        SampleLimit(max_samples),
        TimeBudget(max_seconds, min_samples),
    )
    series, stopped_by = take_samples(fn, stopwatch, warmed.repeats, rules, progress)
    return Measurement(tuple(series.samples), warmed.repeats, warmed.readings, stopped_by)


def take_samples(
    fn: Call,
    stopwatch: Stopwatch,
    repeats: int,
    rules: Sequence[StoppingRule],
    progress: Callable[[Series], None] | None = None,
) -> tuple[Series, str]:
    """Sample until one of the rules is reached, at least once; returns the samples and that rule's name."""
    series = Series(repeats)
    begin = stopwatch.clock.now_ns()
    while True:
        nanoseconds = time_calls(stopwatch, fn, repeats)
        series.add(nanoseconds, stopwatch.clock.now_ns() - begin)
        if progress is not None:
            progress(series)
        for rule in rules:
            if rule.reached(series):
                return series, rule.name


def _check(precision: float, min_samples: int, max_samples: int, max_seconds: float) -> None:
    if not 0 < precision < 1:
        raise UsageError(f"the precision has to lie between 0 and 1, not at {precision}: write 0.01 for 1 %")
    if not 1 <= min_samples <= max_samples:
        raise UsageError(
            f"the least and the most samples make no range ({min_samples} to {max_samples}): write 6 to 1000, say"
        )
    if not max_seconds > 0:
        raise UsageError(f"the time to measure has to be positive, not {max_seconds} s")

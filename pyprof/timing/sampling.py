"""Measure how long a call takes: warm up, sample until a rule says stop, and say how sure the result is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.printing import ShownInNotebook
from pyprof.quantity import check_seconds, format_seconds
from pyprof.records.disturbance import held_up_share
from pyprof.records.noise import Noise, SystemPart
from pyprof.records.trust import Judgement, of_share, with_trust
from pyprof.statistics.dependence import dependence
from pyprof.statistics.estimate import Estimate, Samples, estimate_median
from pyprof.statistics.sequential import LOOKED_AT
from pyprof.statistics.shape import Shape, describe
from pyprof.timing.clock import Call, HostStopwatch, Stopwatch, empty_ns, shortest_reading_ns, time_calls
from pyprof.timing.settling import StillPrecise, reason_to_end, spanning
from pyprof.timing.stopping import PrecisionReached, SampleLimit, Series, StoppingRule, TimeBudget
from pyprof.timing.warmup import Warmup, warm_up
from pyprof.timing.watch import AnyWatch, Watch
from pyprof.timing.yardstick import Beside, Yardstick, undisturbed

# What a stopwatch cannot know: after a call caches are cold, and the way back to the stamp takes longer than in a loop
# of empty calls. It came to up to 0.1 % of native work of 0.2 to 50 ms, and to 60 to 100 ns of shorter one.
_ACCURACY = 0.001
_RETURN_SECONDS, _RETURN_SHARE = 100e-9, 0.005


@dataclass(frozen=True)
class Measurement(ShownInNotebook):
    """How long one call takes, in seconds: the median, its 95 % interval, and the raw samples behind it.

    `samples` are nanoseconds of `repeats` calls each: one call, or more where one is too short for the clock. What a
    reading of calls that do nothing takes, `empty_ns`, is taken off each in all that is told in seconds. `warmup` are
    the readings before, in nanoseconds per call, with the samples of levels that the call has left for good. Where it
    was `still_changing` its level in the end, the interval covers all samples. `stopped_by` names the rule that ended
    the sampling: precision, samples or time. `low` and `high` are None where there are too few samples for an interval.

    `hits` marks the samples that noise has hit (flags of `pyprof.records.noise.Hit`), and `noise` sums up how quiet the
    machine was; `held_up` is the share of a typical sample in which threads of this process waited for other processes,
    and `system` what the system took of a call, both None where it doesn't tell. Where a yardstick was timed
    beside, `yardstick` holds its readings in nanoseconds and `steady` the median at the machine's full speed: that of
    the undisturbed samples over the yardstick's time around each, times the yardstick's fastest reading. It is right
    for work that the machine's speed scales, not for sleeping or waiting.
    """

    samples: tuple[int, ...]
    repeats: int
    warmup: tuple[int, ...]
    stopped_by: str
    empty_ns: int = 0
    hits: tuple[int, ...] = ()
    noise: Noise | None = None
    yardstick: tuple[int, ...] = ()
    steady: Estimate | None = None
    still_changing: bool = False
    system: SystemPart | None = None
    held_up: float | None = None

    @cached_property
    def estimate(self) -> Estimate:
        """The median with its interval.

        Samples of a drifting machine depend on each other; the interval is wider by what that costs. Added on both
        sides is what the stopwatch cannot know: half of what was taken off for the empty reading, since that was
        measured once, at one moment's speed, a thousandth of the median, and up to 100 ns for the way back from work.
        """
        seconds = self.samples_seconds
        estimate = _of_levels(seconds, self.still_changing)
        back = min(_RETURN_SECONDS, _RETURN_SHARE * estimate.value)
        doubt = self.empty_ns / self.repeats / 2e9 + _ACCURACY * estimate.value + back
        if estimate.low is None or estimate.high is None:
            return estimate
        return Estimate(estimate.value, max(0.0, estimate.low - doubt), estimate.high + doubt)

    @cached_property
    def shape(self) -> Shape:
        """Whether the samples fall into several modes, drift, or depend on each other."""
        return describe([max(nanoseconds, 1) / self.repeats / 1e9 for nanoseconds in self.samples])

    @property
    def trust(self) -> Judgement | None:
        """Whether to trust the times, and what to do where not; None where the system doesn't tell."""
        return of_share(self.held_up, self.noise.throttled if self.noise else None)

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
        return tuple(max(0, nanoseconds - self.empty_ns) / self.repeats / 1e9 for nanoseconds in self.samples)

    def __str__(self) -> str:
        count = f"{len(self.samples)} sample{'s' if len(self.samples) > 1 else ''}"
        if self.interval is None:
            return f"{format_seconds(self.median)} ({count}, too few for an interval)"
        low, high = map(format_seconds, self.interval)
        told = [f"{format_seconds(self.median)} (95 % interval {low} to {high}, {count})"]
        told += [f"{format_seconds(self.steady.value)} at the machine's full speed"] if self.steady else []
        told += ["still changing when the sampling ended"] if self.still_changing else []
        told += [str(self.system)] if self.system and self.system.is_much else []
        told += [str(self.shape)] if str(self.shape) else []
        return with_trust("; ".join(told), self.trust)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields, with the median and its interval in seconds; samples in nanoseconds."""
        noise = None if self.noise is None else self.noise.to_json()
        trust = None if self.trust is None else asdict(self.trust)
        figures = {"median": self.median, "low": self.low, "high": self.high}
        return {**asdict(self), "noise": noise, "trust": trust, **figures}


def measure(
    fn: Call,
    *,
    precision: float = 0.01,
    min_samples: int = 6,
    max_samples: int = 1000,
    min_seconds: float = 0.0,
    max_seconds: float = 10.0,
    warmup: Warmup | None = None,
    stopwatch: Stopwatch | None = None,
    yardstick: Yardstick | None = None,
    watch: AnyWatch | None = None,
    progress: Callable[[Series], None] | None = None,
) -> Measurement:
    """Measure how long a call of `fn` takes.

    After the warm-up, sampling ends as soon as half of the width of the median's 95 % interval is at most `precision`
    times the median, at `max_samples`, or when another sample would end beyond `max_seconds`. There are at least
    `min_samples`, unless these would take more than twice `max_seconds`; six are the fewest that give an interval.
    Precision alone does not end it before `min_seconds`, nor before a longer look of a quarter of the time spent so far
    (0.25 s where that is more) finds the call at the same level: what it has left for good is warm-up. Calls too short
    for the clock are repeated within a sample. The garbage collector is held off within samples.
    `stopwatch` is the host's clock by default (`pyprof.device.of(name).stopwatch()` is the one of a device);
    a `yardstick` is timed between the samples, see `Measurement`; `watch` looks at the machine during each sample, by
    default at what the operating system counts; `progress` is called after each sample. Exceptions of `fn` pass
    through. Raises UsageError for senseless limits.
    """
    _check(precision, min_samples, max_samples, max_seconds)
    stopwatch = HostStopwatch() if stopwatch is None else stopwatch
    watch = Watch() if watch is None else watch
    shortest_ns = shortest_reading_ns(stopwatch, precision)
    warmed = warm_up(fn, stopwatch, Warmup() if warmup is None else warmup, shortest_ns)
    empty = empty_ns(stopwatch, warmed.repeats)
    rules = (
        StillPrecise(PrecisionReached(precision, min_samples), min_seconds),
        SampleLimit(max_samples),
        TimeBudget(max_seconds, min_samples),
    )
    beside = None if yardstick is None else Beside(yardstick, stopwatch, watch)
    series = Series(warmed.repeats, None if beside is None else beside.around)
    series, stopped_by = take_samples(fn, stopwatch, series, rules, watch, beside, progress)
    series.settle()
    left = [round(nanoseconds / warmed.repeats) for nanoseconds in series.samples[: series.begin]]
    noise, settled = watch.noise(), slice(series.begin, None)
    hits, waits, others = series.hits[settled], series.waits[settled], series.others_waits[settled]
    taken = Measurement(
        samples=tuple(series.samples[settled]),
        repeats=warmed.repeats,
        warmup=(*warmed.readings, *left),
        stopped_by=stopped_by,
        empty_ns=empty,
        hits=tuple(hits),
        noise=noise,
        still_changing=series.changing,
        system=SystemPart.of(series.system[settled], warmed.repeats),
        held_up=held_up_share(series.samples[settled], hits, waits, others, noise) if noise.samples else None,
    )
    if beside is None or yardstick is None:
        return taken
    around = beside.around(series.count)[series.begin :]
    return replace(taken, yardstick=tuple(beside.readings), steady=_steady(taken, around, yardstick))


def _steady(taken: Measurement, around: npt.NDArray[np.float64], yardstick: Yardstick) -> Estimate:
    """The median of undisturbed samples at full speed, with its interval."""
    scaled = (np.asarray(taken.samples_seconds) / around)[undisturbed(taken.hits)] * (yardstick.fastest_ns or 0)
    return _of_levels(scaled, taken.still_changing)


def _of_levels(seconds: Samples, still_changing: bool) -> Estimate:
    """The median of samples with its interval, or with all that they span where they are of several levels."""
    if still_changing:
        return spanning(seconds)
    return estimate_median(seconds, LOOKED_AT, dependence(seconds))


def take_samples(
    fn: Call,
    stopwatch: Stopwatch,
    series: Series,
    rules: Sequence[StoppingRule],
    watch: AnyWatch,
    beside: Beside | None = None,
    progress: Callable[[Series], None] | None = None,
) -> tuple[Series, str]:
    """Sample until one of the rules is reached, at least once; returns the samples and that rule's name."""
    begin = stopwatch.clock.now_ns()
    while True:
        watch.begin()
        nanoseconds = time_calls(stopwatch, fn, series.repeats)
        series.add(nanoseconds, stopwatch.clock.now_ns() - begin, watch.end(), watch)
        if beside is not None:
            beside.read_if_due(series.count, series.elapsed_ns)
        if progress is not None:
            progress(series)
        if reason := reason_to_end(rules, (), series):
            return series, reason


def _check(precision: float, min_samples: int, max_samples: int, max_seconds: float) -> None:
    if not 0 < precision < 1:
        raise UsageError(f"the precision has to lie between 0 and 1, not at {precision}: write 0.01 for 1 %")
    if not 1 <= min_samples <= max_samples:
        raise UsageError(
            f"the least and the most samples make no range ({min_samples} to {max_samples}): write 6 to 1000, say"
        )
    check_seconds(max_seconds, "the time to measure")

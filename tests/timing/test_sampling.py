from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import pyprof
from pyprof.errors import UsageError
from pyprof.records.noise import Noise
from pyprof.statistics.dependence import dependence
from pyprof.statistics.estimate import median_interval
from pyprof.statistics.sequential import LOOKED_AT
from pyprof.timing.clock import HostStopwatch
from pyprof.timing.sampling import Measurement, measure
from pyprof.timing.stopping import PrecisionReached, SampleLimit, Series, TimeBudget
from pyprof.timing.warmup import Warmup
from pyprof.timing.watch import NoWatch
from pyprof.timing.yardstick import Yardstick

MS = 1_000_000
ONE_CALL = Warmup(max_readings=1)


def series_of(samples: list[int], repeats: int = 1) -> Series:
    series = Series(repeats)
    for sample in samples:
        series.add(sample, series.elapsed_ns + sample)
    return series


def test_a_steady_call_needs_no_more_than_the_fewest_samples_and_a_longer_look(clock: Any) -> None:
    result = measure(clock.work([20 * MS]), stopwatch=HostStopwatch(clock), watch=NoWatch())
    # The look takes 0.25 s.
    count = 6 + 13
    expected = Measurement((20 * MS,) * count, 1, (20 * MS,) * 5, "precision", hits=(0,) * count, noise=Noise(0.0, 0))
    assert result == expected
    assert result.median == 0.02
    # All samples are equal, and the interval is as narrow as the stopwatch is accurate.
    assert result.interval == pytest.approx((0.02 * 0.999 - 1e-7, 0.02 * 1.001 + 1e-7))


def test_warm_up_is_kept_and_not_counted(clock: Any) -> None:
    result = measure(clock.work([99 * MS, 10 * MS]), stopwatch=HostStopwatch(clock), warmup=ONE_CALL)
    assert result.warmup == (99 * MS,)
    assert result.interval == pytest.approx((0.01 * 0.999 - 1e-7, 0.01 * 1.001 + 1e-7))


def test_sampling_goes_on_until_the_interval_is_tight(clock: Any) -> None:
    rng = np.random.default_rng(2)
    work = clock.work(int(value) for value in rng.normal(10 * MS, 0.3 * MS, 2000))
    result = measure(work, precision=0.01, max_seconds=100, stopwatch=HostStopwatch(clock), warmup=ONE_CALL)
    assert result.stopped_by == "precision"
    assert 20 < len(result.samples) < 200
    assert result.estimate.relative_half_width <= 0.01
    low, high = median_interval(result.samples_seconds, LOOKED_AT)
    doubt = 0.001 * result.median + 1e-7
    assert result.interval == pytest.approx((low - doubt, high + doubt))


def test_a_tighter_precision_takes_more_samples(clock: Any) -> None:
    counts = []
    for precision in (0.02, 0.005):
        rng = np.random.default_rng(2)
        work = clock.work(int(value) for value in rng.normal(10 * MS, 0.3 * MS, 5000))
        result = measure(work, precision=precision, max_seconds=100, stopwatch=HostStopwatch(clock), warmup=ONE_CALL)
        counts.append(len(result.samples))
    assert counts[1] > 5 * counts[0]


def test_the_interval_of_what_precision_stopped_still_covers() -> None:
    rng = np.random.default_rng(7)
    covered, runs = 0, 600
    for _ in range(runs):
        rule, series = PrecisionReached(0.01, 6), Series(1)
        for value in rng.normal(1e9, 1.5e7, 400):
            series.add(int(value), 0)
            if rule.reached(series):
                break
        estimate = series.estimate()
        covered += estimate.low <= 1 <= estimate.high
    # Stopping when the interval happens to be tight costs a little of the nominal 95 %.
    assert covered / runs >= 0.93


def test_sampling_ends_at_the_most_samples(clock: Any) -> None:
    work = clock.work([10 * MS, 20 * MS] * 100)
    result = measure(work, max_samples=40, stopwatch=HostStopwatch(clock), warmup=ONE_CALL)
    assert (len(result.samples), result.stopped_by) == (40, "samples")


def test_sampling_ends_before_the_time_is_over(clock: Any) -> None:
    work = clock.work([100 * MS] + [90 * MS, 110 * MS] * 100)
    result = measure(work, max_seconds=2.0, stopwatch=HostStopwatch(clock), warmup=ONE_CALL)
    assert (len(result.samples), result.stopped_by) == (20, "time")


def test_the_fewest_samples_may_overrun_the_time_up_to_twice(clock: Any) -> None:
    result = measure(clock.work([3_000 * MS]), max_seconds=10, stopwatch=HostStopwatch(clock))
    assert (len(result.samples), result.stopped_by) == (6, "precision")
    assert result.interval == pytest.approx((2.997, 3.003))


def test_beyond_twice_the_time_there_are_fewer_samples_and_no_interval(clock: Any) -> None:
    result = measure(clock.work([5_000 * MS]), max_seconds=10, stopwatch=HostStopwatch(clock))
    assert (len(result.samples), result.stopped_by) == (4, "time")
    assert (result.median, result.low, result.high, result.interval) == (5, None, None, None)
    assert str(result) == "5.00 s (4 samples, too few for an interval)"


def test_a_minute_long_step_gives_one_sample(clock: Any) -> None:
    result = measure(clock.work([60_000 * MS]), max_seconds=10, stopwatch=HostStopwatch(clock), watch=NoWatch())
    assert result == Measurement((60_000 * MS,), 1, (60_000 * MS,), "time", hits=(0,), noise=Noise(0.0, 0))
    assert str(result) == "60.0 s (1 sample, too few for an interval)"


def test_short_calls_are_batched_and_reported_per_call(clock: Any) -> None:
    class Coarse(HostStopwatch):
        """A stopwatch that tells 40 ns apart, so that a sample of one percent precision takes 40 µs."""

        def __init__(self) -> None:
            super().__init__(clock)
            self.resolution_ns = 40

    result = measure(clock.work([25]), stopwatch=Coarse())
    assert result.repeats == 2_400
    assert set(result.samples) == {60_000}
    assert result.median == pytest.approx(25e-9)


def test_exceptions_pass_through(clock: Any) -> None:
    calls = iter(range(9))

    def fail_late() -> None:
        clock.now += MS
        if next(calls) == 7:
            raise ValueError("out of luck")

    with pytest.raises(ValueError, match="out of luck"):
        measure(fail_late, stopwatch=HostStopwatch(clock))
    assert gc.isenabled()


def test_progress_sees_each_sample(clock: Any) -> None:
    seen = []
    measure(
        clock.work([10 * MS]),
        stopwatch=HostStopwatch(clock),
        progress=lambda series: seen.append((series.count, series.elapsed_seconds, series.estimate().value)),
    )
    assert seen == [(count, pytest.approx(count / 100), 0.01) for count in range(1, 6 + 25 + 1)]


def test_garbage_is_collected_between_samples_and_never_within(clock: Any) -> None:
    within, collections = False, []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            collections.append(within)

    def leave_cycles() -> None:
        nonlocal within
        within = True
        for _ in range(2 * gc.get_threshold()[0]):
            cycle: list[object] = []
            cycle.append(cycle)
        clock.now += MS
        within = False

    gc.callbacks.append(note)
    try:
        measure(leave_cycles, stopwatch=HostStopwatch(clock))
    finally:
        gc.callbacks.remove(note)
    assert collections
    assert not any(collections)


def test_a_series_estimates_as_the_statistics_do() -> None:
    samples = [int(value) for value in np.random.default_rng(1).lognormal(15, 0.2, 37)]
    estimate = series_of(samples, repeats=4).estimate()
    low, high = median_interval(samples, LOOKED_AT, dependence(samples))
    assert estimate.value == pytest.approx(np.median(samples) / 4e9)
    assert estimate.interval == pytest.approx((low / 4e9, high / 4e9))


def test_precision_is_looked_at_ever_more_rarely() -> None:
    looks, series = [], Series(1)

    class Watched(Series):
        def estimate(self) -> Any:
            looks.append(self.count)
            return super().estimate()

    series, rule = Watched(1), PrecisionReached(1e-9, 6)
    for sample in range(1, 60):
        series.add(sample, 0)
        assert not rule.reached(series)
    assert looks == [6, 7, 8, 10, 12, 15, 18, 22, 27, 33, 41, 51]


def test_rules_stop_exactly_at_their_limits() -> None:
    assert not SampleLimit(3).reached(series_of([1, 1]))
    assert SampleLimit(3).reached(series_of([1, 1, 1]))
    assert not TimeBudget(4e-9, min_samples=1).reached(series_of([1, 1, 1]))
    assert TimeBudget(4e-9, min_samples=1).reached(series_of([1, 1, 1, 1]))
    assert not TimeBudget(4e-9, min_samples=6, overrun=1.25).reached(series_of([1, 1, 1, 1]))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"precision": 0}, "write 0.01 for 1 %"),
        ({"precision": 1.0}, "write 0.01 for 1 %"),
        ({"min_samples": 0}, "make no range"),
        ({"min_samples": 20, "max_samples": 10}, "make no range"),
        ({"max_seconds": 0}, "has to be positive"),
        ({"max_seconds": float("nan")}, "has to be positive"),
        ({"max_seconds": float("inf")}, "has to be positive"),
        ({"max_seconds": "3"}, "has to be positive, a number of seconds, not '3'"),
        ({"precision": float("nan")}, "write 0.01 for 1 %"),
    ],
)
def test_senseless_limits_are_refused_before_the_first_call(limits: dict[str, Any], message: str) -> None:
    def never() -> None:
        raise AssertionError

    with pytest.raises(UsageError, match=message):
        measure(never, **limits)


def test_the_package_is_the_function_too() -> None:
    result = pyprof.measure(lambda: sum(range(1000)), max_seconds=0.05, max_samples=20)
    assert isinstance(result, Measurement)
    assert 0 < result.median < 0.01
    assert result.low <= result.median <= result.high


def test_what_an_empty_reading_takes_is_taken_off_and_widens_the_interval() -> None:
    found = Measurement(samples=(2_100,) * 6, repeats=2, warmup=(), stopped_by="samples", empty_ns=100)
    assert found.median == pytest.approx(1_000e-9)
    doubt = 100e-9 / 2 / 2 + 0.001 * 1_000e-9 + 0.005 * 1_000e-9
    assert found.interval == pytest.approx((1_000e-9 - doubt, 1_000e-9 + doubt))
    # What is shorter than the empty reading takes no time that could be told, and never a negative one.
    assert Measurement((50,) * 6, 1, (), "samples", empty_ns=100).interval[0] == 0.0


def test_precision_does_not_end_the_sampling_before_the_least_time(clock: Any) -> None:
    result = measure(clock.work([20 * MS]), min_seconds=1.0, stopwatch=HostStopwatch(clock), watch=NoWatch())
    assert result.stopped_by == "precision"
    assert 50 <= len(result.samples) <= 60


class FlippingMachine:
    """A clock moved by calls that all take longer while the machine is slow."""

    resolution_ns = 1

    def __init__(self) -> None:
        self.now = 0
        self.disturbed = False

    def now_ns(self) -> int:
        return self.now

    def call(self, nanoseconds: int) -> Any:
        def run() -> None:
            slow = (self.now // 2_000_000_000) % 2
            self.now += nanoseconds * 3 // 2 if slow else nanoseconds

        return run


class FakeYardstick(Yardstick):
    def __init__(self, call: Any) -> None:
        self.fastest_ns = None
        self._call = call

    def __call__(self) -> None:
        self._call()


@pytest.mark.parametrize("begin", [0, 1_900_000_000, 2_100_000_000])
def test_a_yardstick_tells_the_time_at_full_speed(begin: int) -> None:
    """However the machine's slow times fall on the samples, the latency at full speed is the same."""
    machine = FlippingMachine()
    yardstick = FakeYardstick(machine.call(10 * MS))
    yardstick.calibrate(0.5, HostStopwatch(machine))
    assert (machine.now, yardstick.fastest_ns) == (500 * MS, 10 * MS)
    machine.now = begin
    result = measure(
        machine.call(5 * MS),
        min_seconds=1.0,
        max_seconds=1.0,
        max_samples=10_000,
        stopwatch=HostStopwatch(machine),
        watch=NoWatch(),
        yardstick=yardstick,
    )
    assert result.steady is not None
    assert result.steady.value == pytest.approx(5e-3, rel=1e-6)
    assert (result.median > 5e-3) == (begin > 0)
    assert 0.15 <= sum(result.yardstick) / (sum(result.yardstick) + sum(result.samples)) <= 0.25


def test_samples_that_noise_has_hit_do_not_count_at_full_speed() -> None:
    machine = FlippingMachine()
    yardstick = FakeYardstick(machine.call(10 * MS))

    class Watching(NoWatch):
        """Two of three samples are preempted, and take four times as long."""

        def end(self) -> int:
            return int(machine.disturbed)

    def step() -> None:
        machine.disturbed = (machine.now // 1_000_000) % 3 > 0
        machine.now += 20_000_123 if machine.disturbed else 5_000_123

    result = measure(
        step, min_seconds=1.0, max_seconds=1.0, stopwatch=HostStopwatch(machine), watch=Watching(), yardstick=yardstick
    )
    assert sum(result.hits) > len(result.hits) / 2
    assert result.median > 0.02
    assert result.steady is not None
    assert result.steady.value == pytest.approx(5.000123e-3, rel=1e-6)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
def test_stopping_at_the_precision_keeps_the_interval_honest(clock: Any, sigma: float) -> None:
    """The interval that is found in the end holds the true median in 95 % of runs, in spite of the looks before."""
    generator = np.random.default_rng(7)
    held = 0
    for _ in range(150):
        durations = (round(value) for value in generator.lognormal(np.log(20 * MS), sigma, 2000))
        found = measure(
            clock.work(durations), stopwatch=HostStopwatch(clock), watch=NoWatch(), warmup=ONE_CALL, max_seconds=1e3
        )
        held += found.interval is not None and found.interval[0] <= 20e-3 <= found.interval[1]
    assert held >= 138  # 95 % of 150 is 142.5; fewer than 138 come by chance in one of sixty cases at most

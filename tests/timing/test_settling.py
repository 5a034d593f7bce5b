"""Calls that become fast late: what is said of them, what looking for it costs, and that a machine is none of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import count, takewhile
from typing import Any

import numpy as np
import pytest
from flipping_speed import FlippingSpeed

from pyprof.timing.clock import HostStopwatch
from pyprof.timing.compare import PairedComparison, compare
from pyprof.timing.interleave import RoundLimits, interleave
from pyprof.timing.sampling import Measurement, measure
from pyprof.timing.settling import LOOK_SAMPLES, LOOK_SECONDS, LOOK_SHARE, Settled, settled, spanning
from pyprof.timing.watch import NoWatch
from pyprof.timing.yardstick import Yardstick

MS = 1_000_000


def measured(clock: Any, durations: Iterable[int], **limits: Any) -> Measurement:
    return measure(clock.work(durations), stopwatch=HostStopwatch(clock), watch=NoWatch(), **limits)


def slide(begin: float, end: float, seconds: float) -> list[int]:
    """Nanoseconds of calls that become faster all the while, from so many milliseconds to as many, in so long."""
    taken: list[int] = []
    while sum(taken) < seconds * 1e9:
        taken.append(round((begin + (end - begin) * sum(taken) / (seconds * 1e9)) * MS))
    return taken


@pytest.mark.parametrize(
    ("durations", "seconds", "cold"),
    [
        ([20 * MS] * 12 + [2 * MS], 2e-3, 12),
        ([5 * MS] * 40 + [1 * MS], 1e-3, 40),
        ([200 * MS] * 12 + [20 * MS], 20e-3, 12),
        ([100 * MS] * 8 + [50 * MS] * 6 + [10 * MS], 10e-3, 14),  # compiled twice
        ([2 * MS] * 12 + [20 * MS], 20e-3, 12),  # slower for ever
    ],
)
def test_a_level_that_a_call_leaves_for_good_is_warm_up(
    clock: Any, durations: list[int], seconds: float, cold: int
) -> None:
    result = measured(clock, durations)
    assert result.median == pytest.approx(seconds)
    assert result.interval == pytest.approx((seconds, seconds), rel=2e-3)
    assert list(result.warmup) == durations[:cold]
    assert len(result.hits) == len(result.samples)
    assert (result.stopped_by, result.still_changing) == ("precision", False)


def test_a_slide_of_seconds_is_warm_up(clock: Any) -> None:
    result = measured(clock, [*slide(50, 10, 3.0), 10 * MS])
    assert result.median == 10e-3
    assert result.interval == pytest.approx((10e-3, 10e-3), rel=2e-3)
    assert (result.stopped_by, result.still_changing) == ("precision", False)


@pytest.mark.parametrize(
    ("durations", "calls"),
    [
        ([5 * MS] * 29 + [50 * MS, 5 * MS], 5 + 6 + 41),  # slow at call 30 only
        ([5 * MS, 90 * MS, *[5 * MS] * 6, 80 * MS, 5 * MS], 5 + 10 + 50),  # compiled anew at the calls 2 and 9
    ],
)
def test_an_outlier_is_no_level(clock: Any, durations: list[int], calls: int) -> None:
    result = measured(clock, durations)
    assert result.median == 5e-3
    assert len(result.warmup) == 5
    assert not result.still_changing
    assert len(result.samples) + 5 <= calls


def test_what_still_falls_when_the_time_is_over_says_so(clock: Any) -> None:
    durations = slide(50, 10, 3.0)
    result = measured(clock, [*durations, 10 * MS], max_seconds=1.5)
    assert (result.stopped_by, result.still_changing) == ("time", True)
    assert result.interval == pytest.approx((min(result.samples) / 1e9, max(result.samples) / 1e9), rel=2e-3)
    assert "still changing when the sampling ended" in str(result)
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["still_changing"] is True
    assert (document["low"], document["high"]) == result.interval
    # Nothing of what was read is lost.
    assert [*result.warmup, *result.samples] == durations[: len(result.warmup) + len(result.samples)]


def test_a_level_reached_just_before_the_end_is_covered_by_the_interval(clock: Any) -> None:
    result = measured(clock, [20 * MS] * 16 + [2 * MS], max_samples=14)
    assert (result.stopped_by, result.still_changing) == ("samples", True)
    assert result.interval is not None
    assert result.interval[0] <= 2e-3
    assert result.interval[1] >= 20e-3


@pytest.mark.parametrize("milliseconds", [0.1, 1, 20, 300, 1100])
def test_looking_longer_costs_a_bounded_share(clock: Any, milliseconds: float) -> None:
    call = round(milliseconds * MS)
    result = measured(clock, [call], max_samples=100_000)
    # All samples are equal, so that six are precise.
    longer = (len(result.samples) - 6) * call
    assert result.stopped_by == "precision"
    assert longer <= max(LOOK_SHARE * 6 * call, LOOK_SECONDS * 1e9) + call


def test_looking_longer_takes_a_hundred_samples_at_most_where_these_take_long_enough(clock: Any) -> None:
    generator = np.random.default_rng(3)
    noisy = (round(value) for value in generator.normal(10 * MS, 2 * MS, 100_000))
    seen: list[int] = []
    result = measure(
        clock.work(noisy),
        stopwatch=HostStopwatch(clock),
        watch=NoWatch(),
        max_samples=100_000,
        max_seconds=1e3,
        progress=lambda series: seen.append(series.count),
    )
    first = next(
        count
        for count in takewhile(lambda reached: reached <= seen[-1], _looks())
        if _half_width(result.samples[:count]) <= 0.01
    )
    assert first * LOOK_SHARE > LOOK_SAMPLES
    assert len(result.samples) <= first + LOOK_SAMPLES


def _looks() -> Iterable[int]:
    look = 6
    while True:
        yield look
        look += max(1, look // 4)


def _half_width(samples: tuple[int, ...]) -> float:
    width = Measurement(samples, 1, (), "precision").estimate.relative_half_width
    return float("inf") if width is None else width - 0.00101


def test_no_look_goes_beyond_the_time(clock: Any) -> None:
    result = measured(clock, [1_000 * MS], max_seconds=6.5)
    assert (len(result.samples), result.stopped_by) == (6, "precision")


class Machine:
    """A clock moved by calls, on a machine whose speed flips between two values, with noise and slow samples.

    `drift` is how far it becomes slower and faster besides, in 44 seconds up and down.
    """

    def __init__(self, seed: int, slower: float, noise: float, drift: float = 0.0) -> None:
        self._random = np.random.default_rng(seed)
        self._speed = FlippingSpeed(self._random, slower)
        self._noise, self._drift = noise, drift
        self.now = round(self._random.uniform(0, 1000) * 1e9)

    def now_ns(self) -> int:
        return self.now

    def call(self, milliseconds: float, slower: float | None = None) -> Callable[[], None]:
        """Work that the machine in its slow state slows by a factor, by default the machine's own."""
        factor = self._speed.slower if slower is None else slower

        def run() -> None:
            slow = bool(self._speed.is_slow(np.array([self.now * 1e-9]))[0])
            wild = 3.0 if self._random.random() < 0.03 else 1.0
            noise = np.exp(self._random.normal(0, self._noise)) * (1 + self._drift * np.sin(self.now / 7e9))
            self.now += round(milliseconds * MS * (factor if slow else 1.0) * wild * noise)

        return run


@pytest.mark.parametrize(
    ("slower", "noise", "drift"),
    [*((slower, noise, 0.0) for slower in (1.0, 1.45, 1.8) for noise in (0.02, 0.1, 0.3)), (1.45, 0.05, 0.2)],
)
def test_a_machine_is_rarely_taken_for_a_warm_up(slower: float, noise: float, drift: float) -> None:
    """Steady, flipping or drifting besides: in at most 2 of 60 measurements of up to 5 s."""
    alarms = 0
    for seed in range(60):
        machine = Machine(seed, slower, noise, drift)
        result = measure(
            machine.call(10), stopwatch=HostStopwatch(machine), watch=NoWatch(), precision=0.02, max_seconds=5.0
        )
        # The warm-up itself has 25 readings at most.
        alarms += result.still_changing or len(result.warmup) > 25
    assert alarms <= 2


@pytest.mark.parametrize("slower", [1.0, 1.45, 1.8])
def test_a_machine_is_rarely_taken_for_a_warm_up_in_rounds(slower: float) -> None:
    """A yardstick, or another step, is slowed by another factor than the step."""
    alarms = 0
    for seed in range(60):
        machine = Machine(seed, slower, 0.05)
        calls = {"step": machine.call(20), "other": machine.call(30, 1 + 0.8 * (slower - 1))}
        calls["yardstick"] = machine.call(5, 1 + 0.6 * (slower - 1))
        limits = RoundLimits(seconds=1000.0, most_rounds=600, seed=seed)
        rounds = interleave(calls, limits, HostStopwatch(machine))
        alarms += rounds.changing or rounds.count < 600
    assert alarms <= 2


def test_a_machine_that_comes_back_however_slow_it_was_is_no_warm_up() -> None:
    steady, slow = [10.0, 10.1, 9.9] * 10, [40.0, 40.4, 39.6] * 10
    assert settled(slow + steady) == Settled(30)
    assert settled(steady + slow + steady) == Settled()
    assert settled(slow + steady + slow) == Settled()


def test_a_cold_level_is_found_before_a_change_of_speed_that_is_clearer() -> None:
    slow, fast = [3.0, 3.1, 2.9] * 60, [2.0, 2.1, 1.9] * 60
    assert settled([20.0] * 7 + slow + fast) == Settled(7)
    # Where speeds change to and fro the place is less sharp.
    assert 7 <= settled([20.0] * 7 + slow + fast + slow).begin <= 10


def test_what_slows_all_alike_is_the_machine_and_what_one_does_alone_is_not() -> None:
    slow_then_fast, fast_then_slow, steady = [[16.0] * 20 + [10.0] * 20, [10.0] * 20 + [16.0] * 20, [5.0] * 40]
    assert settled(slow_then_fast) == Settled()
    assert settled(slow_then_fast, [[8.0] * 20 + [5.0] * 20]) == Settled()
    assert settled(slow_then_fast, [steady]) == Settled(20)
    # The ratio changes here too, and it is the reference that did.
    assert settled(steady, [fast_then_slow]) == Settled()
    # Both at once, by more than a machine would.
    assert settled([50.0] * 20 + [10.0] * 20, [[60.0] * 20 + [10.0] * 20]) == Settled(20)


def test_an_interval_that_spans_all_levels() -> None:
    estimate = spanning([5.0, 1.0, 4.0])
    assert (estimate.value, estimate.low, estimate.high) == (4.0, 1.0, 5.0)


class FakeYardstick(Yardstick):
    def __init__(self, call: Callable[[], object]) -> None:
        self.fastest_ns = None
        self._call = call

    def __call__(self) -> None:
        self._call()


def test_with_a_yardstick_a_smaller_step_is_seen_too(clock: Any) -> None:
    durations = [16 * MS] * 30 + [10 * MS]
    assert len(measured(clock, durations, min_seconds=1.0).warmup) == 5
    result = measured(clock, durations, min_seconds=1.0, yardstick=FakeYardstick(clock.work([4 * MS])))
    assert list(result.warmup) == durations[:30]
    assert result.median == 10e-3
    assert result.steady is not None
    assert result.steady.interval == pytest.approx((10e-3, 10e-3))


def compared(clock: Any, a: Iterable[int], b: Iterable[int], **limits: Any) -> PairedComparison:
    return compare(clock.work(a), clock.work(b), stopwatch=HostStopwatch(clock), watch=NoWatch(), seed=1, **limits)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([10 * MS], [20 * MS] * 12 + [10 * MS]),
        ([20 * MS] * 12 + [10 * MS], [10 * MS]),
        ([20 * MS] * 12 + [2 * MS], [20 * MS] * 12 + [2 * MS]),
        ([200 * MS] * 12 + [10 * MS], [100 * MS] * 15 + [10 * MS]),
    ],
)
def test_two_that_are_alike_when_warm_are_compared_warm(clock: Any, a: list[int], b: list[int]) -> None:
    result = compared(clock, a, b)
    assert result.verdict == "no difference shown"
    assert result.ratio.interval == pytest.approx((1.0, 1.0))
    assert len(set(result.samples_a) | set(result.samples_b)) == 1
    assert len(result.hits_a) == result.pairs
    assert not result.still_changing


def test_a_comparison_with_one_that_still_falls_says_so(clock: Any) -> None:
    result = compared(clock, [20 * MS], slide(24, 8, 1.0), max_seconds=1.8)
    assert result.still_changing
    ratios = [b / a for a, b in zip(result.samples_a, result.samples_b, strict=True)]
    assert result.ratio.interval == pytest.approx((min(ratios), max(ratios)))
    assert "still changing when the rounds ended" in str(result)
    assert result.to_json()["still_changing"] is True


def test_rounds_of_one_that_still_warms_up_are_nobodys(work_clock: Any, work_stopwatch: HostStopwatch) -> None:
    calls = count()

    def cold() -> None:
        work_clock.now += 5_000 if next(calls) < 30 else 1_000

    contestants = {"warm": work_clock.work("warm", 800), "cold": cold, "yardstick": work_clock.work("yardstick", 500)}
    rounds = interleave(contestants, RoundLimits(most_rounds=100), work_stopwatch)
    assert rounds.count == 100 - 25  # five of the thirty were in the warm-up
    assert rounds.samples == {"warm": [800] * 75, "cold": [1_000] * 75, "yardstick": [500] * 75}
    assert rounds.warmups == {"warm": (800,) * 30, "cold": (5_000,) * 30, "yardstick": (500,) * 30}
    assert {name: len(hits) for name, hits in rounds.hits.items()} == dict.fromkeys(contestants, 75)
    assert rounds.ratio("cold", "warm").value == 1.25

"""Comparing two calls on a simulated machine: how often it errs, what it finds, when it stops."""

from __future__ import annotations

import math
import random

import pytest

from pyprof.errors import UsageError
from pyprof.timing.clock import HostStopwatch
from pyprof.timing.compare import ComparisonError, compare
from pyprof.timing.watch import NoWatch

MILLISECOND = 1_000_000


class Machine:
    """A clock moved by calls whose time is scaled by a speed that flips, a slow drift, and skewed noise."""

    def __init__(self, seed: int, noise: float = 0.05, slow: float = 1.45, hold: float = 2.0, wild: bool = True):
        self.now = 0
        self.random = random.Random(seed)
        self.noise, self.slow, self.hold = noise, slow, hold
        self.flip, self.speed = 0.0, 1.0
        self.wild = wild

    def now_ns(self) -> int:
        return self.now

    def call(self, seconds: float):
        def run() -> None:
            if self.now >= self.flip:
                self.speed = self.slow if self.speed == 1.0 else 1.0
                self.flip = self.now + self.random.expovariate(1 / self.hold) * 1e9
            drift = 1 + 0.2 * math.sin(self.now / 7e9) * self.wild
            spike = 3.0 if self.wild and self.random.random() < 0.03 else 1.0
            noise = math.exp(self.random.gauss(0, self.noise))
            self.now += round(seconds * 1e9 * self.speed * drift * spike * noise)

        return run

    def compare(self, a: float, b: float, **limits):
        return compare(
            self.call(a),
            self.call(b),
            stopwatch=HostStopwatch(self),
            watch=NoWatch(),
            seed=self.random.random(),
            **limits,
        )


def test_a_difference_between_two_that_are_alike_is_shown_at_most_in_one_of_twenty():
    """Under drifts, speeds that flip and spikes; the error rate is bounded, so a few of 200 may err."""
    shown = sum(
        Machine(seed).compare(0.005, 0.005, max_seconds=4.0).verdict != "no difference shown" for seed in range(200)
    )
    assert shown <= 10


def test_a_slowdown_of_two_percent_is_found_soon_and_lies_in_the_interval():
    found = [Machine(seed).compare(0.005, 0.0051, max_seconds=30.0) for seed in range(20)]
    assert sum(one.verdict == "slower" for one in found) >= 19
    assert sum(one.ratio.low <= 1.02 <= one.ratio.high for one in found) >= 19
    assert max(one.elapsed_seconds for one in found) <= 31
    assert sum(one.stopped_by == "precision" for one in found) >= 17
    assert sorted(one.elapsed_seconds for one in found)[10] < 15


def test_the_faster_one_is_told_as_such():
    found = Machine(1).compare(0.010, 0.005)
    assert found.verdict == "faster"
    assert found.ratio.value == pytest.approx(0.5, rel=0.05)
    # A large difference needs few rounds: the first look is at a 64th of the time.
    assert found.looks == 1
    assert found.elapsed_seconds < 1


def test_two_that_take_exactly_as_long_show_nothing_and_stop_by_precision():
    found = Machine(1, noise=0.0, slow=1.0, wild=False).compare(0.005, 0.005, max_seconds=10)
    assert found.verdict == "no difference shown"
    assert found.stopped_by == "precision"
    assert "no difference shown" in str(found)


def test_steps_of_minutes_get_six_rounds_and_all_of_the_error_rate_for_the_one_look():
    found = Machine(3, slow=1.0, noise=0.01, wild=False).compare(60.0, 80.0, max_seconds=600)
    assert found.pairs == 6
    assert found.looks == 1
    assert found.verdict == "slower"
    low, high = found.ratio.interval
    assert low <= 80 / 60 <= high


def test_too_few_rounds_show_nothing():
    found = Machine(3).compare(60.0, 80.0, max_seconds=10)
    assert found.pairs < 6
    assert found.ratio.interval is None
    assert (found.verdict, found.detectable) == ("no difference shown", None)
    assert "too few" in str(found)


def test_what_would_have_been_found_is_found_in_most_cases():
    """A difference as large as `detectable` says is shown with about the power that it claims."""
    limits = {"max_seconds": 3.0, "precision": 0.0001}
    least = [Machine(seed).compare(0.005, 0.005, **limits).detectable for seed in range(10)]
    typical = sorted(least)[5]
    again = [Machine(seed).compare(0.005, 0.005 * (1 + typical), **limits) for seed in range(100, 130)]
    assert 17 <= sum(one.verdict == "slower" for one in again) <= 29


def test_looks_spend_no_more_than_the_error_rate(monkeypatch):
    """The levels of all looks together are the whole rate, and no look comes before its time."""
    from pyprof.timing import interleave as module

    levels = []
    original = module.signed_rank
    monkeypatch.setattr(
        module, "signed_rank", lambda values, confidence: levels.append(1 - confidence) or original(values, confidence)
    )
    found = Machine(5).compare(0.005, 0.005, max_seconds=20, precision=1e-6)
    assert found.stopped_by == "time"
    assert found.looks == len(levels) == 11
    assert sum(levels) == pytest.approx(0.05)
    assert levels[0] == pytest.approx(0.05 / 64, rel=0.2)


def test_short_calls_are_repeated_and_told_by_the_call():
    found = Machine(1, noise=0.01).compare(50e-9, 60e-9, max_seconds=1.0)
    assert found.repeats_a > 1
    assert found.seconds_a.value == pytest.approx(60e-9, rel=0.5)
    assert found.verdict == "slower"


def test_what_fails_is_an_error_of_one_sentence():
    def broken() -> None:
        raise ValueError("no such layer")

    with pytest.raises(ComparisonError, match=r"b failed.*no such layer"):
        compare(lambda: None, broken, max_seconds=0.1)


def test_preparations_are_not_timed():
    machine = Machine(1, noise=0.0, slow=1.0, wild=False)

    def prepare() -> None:
        machine.now += 50 * MILLISECOND

    found = compare(
        machine.call(0.005),
        machine.call(0.005),
        prepare_b=prepare,
        stopwatch=HostStopwatch(machine),
        watch=NoWatch(),
        max_seconds=5,
    )
    assert found.ratio.value == pytest.approx(1.0, abs=0.05)


def test_json_holds_plain_values():
    import json

    document = json.loads(json.dumps(Machine(1).compare(0.01, 0.02, max_seconds=2.0).to_json(), allow_nan=False))
    assert document["verdict"] == "slower"
    assert document["pairs"] == len(document["samples_a"])


@pytest.mark.parametrize(("name", "value"), [("precision", 0), ("max_seconds", 0), ("confidence", 1.0)])
def test_senseless_limits_are_refused(name, value):
    with pytest.raises(UsageError):
        compare(lambda: None, lambda: None, **{name: value})


def test_the_warm_up_is_part_of_the_time():
    machine = Machine(2)
    machine.compare(0.005, 0.005, max_seconds=3.0, precision=1e-6, warmup_seconds=1.0)
    assert machine.now <= 3.0e9

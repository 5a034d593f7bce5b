from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.timing.clock import HostStopwatch
from pyprof.timing.warmup import Warmup, warm_up

MS = 1_000_000
SHORTEST = 1_000


def test_a_steady_call_warms_up_with_five_readings(clock: Any) -> None:
    warmed = warm_up(clock.work([10 * MS]), HostStopwatch(clock), Warmup(), SHORTEST)
    assert warmed.readings == (10 * MS,) * 5
    assert warmed.repeats == 1


def test_a_cold_first_call_alone_is_no_trend(clock: Any) -> None:
    warmed = warm_up(clock.work([90 * MS, 10 * MS, 10 * MS]), HostStopwatch(clock), Warmup(), SHORTEST)
    assert len(warmed.readings) == 5


def test_the_warm_up_goes_on_while_readings_fall(clock: Any) -> None:
    falling = [(30 - step) * MS for step in range(12)]
    warmed = warm_up(clock.work(falling), HostStopwatch(clock), Warmup(), SHORTEST)
    assert list(warmed.readings[:12]) == falling
    # From the second repetition of the last value on, three of five readings tie, and the order shows no trend.
    assert len(warmed.readings) == 14


def test_the_warm_up_goes_on_while_readings_rise(clock: Any) -> None:
    rising = [(10 + step) * MS for step in range(9)]
    assert len(warm_up(clock.work(rising), HostStopwatch(clock), Warmup(), SHORTEST).readings) == 11


def test_a_change_within_the_tolerance_is_no_trend(clock: Any) -> None:
    falling = [10 * MS - step * 10_000 for step in range(20)]
    assert len(warm_up(clock.work(falling), HostStopwatch(clock), Warmup(tolerance=0.005), SHORTEST).readings) == 5
    assert len(warm_up(clock.work(falling), HostStopwatch(clock), Warmup(tolerance=0.001), SHORTEST).readings) > 5


def test_noise_is_rarely_taken_for_a_trend(clock: Any) -> None:
    rng = np.random.default_rng(8)
    lengths = []
    for _ in range(400):
        work = clock.work(int(value) for value in rng.lognormal(np.log(10 * MS), 0.05, 50))
        lengths.append(len(warm_up(work, HostStopwatch(clock), Warmup(), SHORTEST).readings))
    assert np.mean(np.array(lengths) == 5) > 0.88
    assert np.mean(lengths) < 6


def test_readings_are_bounded_in_number(clock: Any) -> None:
    endless = (10**9 - step * 10**7 for step in range(90))
    warmed = warm_up(clock.work(endless), HostStopwatch(clock), Warmup(max_readings=7, max_seconds=1e9), SHORTEST)
    assert len(warmed.readings) == 7


def test_no_call_is_begun_that_would_end_beyond_the_time(clock: Any) -> None:
    work = clock.work([300 * MS, 290 * MS, 280 * MS, 270 * MS])
    assert len(warm_up(work, HostStopwatch(clock), Warmup(max_seconds=0.9), SHORTEST).readings) == 3


def test_a_minute_long_step_is_called_once(clock: Any) -> None:
    assert warm_up(clock.work([60_000 * MS]), HostStopwatch(clock), Warmup(), SHORTEST).readings == (60_000 * MS,)


def test_a_call_too_short_for_the_clock_is_repeated(clock: Any) -> None:
    warmed = warm_up(clock.work([50]), HostStopwatch(clock), Warmup(), shortest_ns=60_000)
    assert warmed.repeats == 1_800  # half beyond 60 µs
    assert warmed.readings == (50,) * 6


def test_a_cold_first_call_does_not_hide_how_short_the_others_are(clock: Any) -> None:
    warmed = warm_up(clock.work([40 * MS, 100]), HostStopwatch(clock), Warmup(max_readings=2), shortest_ns=60_000)
    assert warmed.repeats * 100 >= 60_000


def test_a_call_that_takes_no_time_at_all_ends_too(clock: Any) -> None:
    calls = 0

    def nothing() -> None:
        nonlocal calls
        calls += 1

    warmed = warm_up(nothing, HostStopwatch(clock), Warmup(max_readings=1), shortest_ns=1_000_000)
    assert warmed.repeats == 1_000_000
    assert calls == 1_000_001


@pytest.mark.parametrize("limits", [{"max_readings": 0}, {"max_seconds": -1.0}, {"tolerance": -0.1}])
def test_a_warm_up_without_a_call_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="at least one reading"):
        Warmup(**limits)

from __future__ import annotations

import gc
from typing import Any

import pytest

from pyprof.timing.clock import HostStopwatch, MonotonicClock, Renewing, clock_step_ns, time_calls


def test_the_host_stopwatch_times_all_repeats_together(clock: Any) -> None:
    assert HostStopwatch(clock).time(clock.work([7, 8, 9]), repeats=3) == 24


def test_the_host_stopwatch_waits_for_queued_work_before_each_stamp(clock: Any) -> None:
    pending = [500]  # queued before the measurement: not its work

    def synchronize() -> None:
        clock.now += sum(pending)
        pending.clear()

    assert HostStopwatch(clock, synchronize).time(lambda: pending.append(30), repeats=2) == 60


def test_what_is_made_anew_before_each_call_is_not_timed(clock: Any) -> None:
    order: list[str] = []
    work = clock.work([7, 8, 9])

    def renew() -> None:
        clock.now += 1000
        order.append("renew")

    def call() -> None:
        work()
        order.append("call")

    assert time_calls(HostStopwatch(clock), Renewing(call, renew), repeats=3) == 24
    assert order == ["renew", "call"] * 3


def test_the_step_of_a_clock_is_the_smallest_that_was_seen() -> None:
    class Coarse:
        def __init__(self) -> None:
            self.readings = iter([0, 0, 0, 100, 100, 160, 160, 160, 400, 400])

        def now_ns(self) -> int:
            return next(self.readings)

    assert clock_step_ns(Coarse(), readings=10) == 60


def test_a_clock_that_stands_still_has_the_finest_step(clock: Any) -> None:
    assert clock_step_ns(clock) == 1


def test_the_real_clock_moves_forward() -> None:
    real = MonotonicClock()
    assert 0 < clock_step_ns(real) < 1_000_000
    assert real.now_ns() <= real.now_ns()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_held_off_and_left_as_it_was(clock: Any, enabled: bool) -> None:
    seen = []
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        time_calls(HostStopwatch(clock), lambda: seen.append(gc.isenabled()), repeats=2)
        assert seen == [False, False]
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_the_collector_is_on_again_after_an_exception(clock: Any) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        time_calls(HostStopwatch(clock), fail)
    assert gc.isenabled()

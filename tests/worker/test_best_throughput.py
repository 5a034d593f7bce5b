from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyprof.errors import UsageError
from pyprof.worker.best_batch import BatchTime, best_throughput


def timed(clock: Any, seconds: Callable[[int], float], asked: list[int]) -> Callable[[int], float]:
    """A measurement that takes ten steps' time."""

    def measure(batch: int) -> float:
        asked.append(batch)
        clock.now += int(10 * seconds(batch) * 1e9)
        return seconds(batch)

    return measure


def test_all_powers_of_two_and_the_largest_are_measured(clock: Any) -> None:
    asked: list[int] = []
    found = best_throughput(timed(clock, lambda batch: 1 + 0.1 * batch, asked), 20, max_seconds=1e6, clock=clock)
    assert asked == [1, 2, 4, 8, 16, 20]
    assert found.best == BatchTime(20, 3.0)
    assert found.best.examples_per_second == pytest.approx(20 / 3)
    assert found.stopped_by == "largest"
    assert [point.batch for point in found.measured] == asked


def test_a_plateau_ends_the_search_after_two_batches(clock: Any) -> None:
    asked: list[int] = []
    found = best_throughput(timed(clock, lambda batch: max(4, batch), asked), 1024, max_seconds=1e6, clock=clock)
    assert asked == [1, 2, 4, 8, 16]
    assert (found.best.batch, found.stopped_by) == (4, "plateau")


def test_one_bad_size_does_not_end_the_search(clock: Any) -> None:
    asked: list[int] = []
    times = {1: 1.0, 2: 1.2, 4: 4.4, 8: 3.0, 16: 5.5}
    found = best_throughput(timed(clock, times.__getitem__, asked), 16, max_seconds=1e6, clock=clock)
    assert (found.best.batch, found.stopped_by) == (16, "largest")


def test_the_best_may_be_within_the_plateau(clock: Any) -> None:
    times = {1: 1.0, 2: 1.99, 4: 3.95, 8: 8.0}
    found = best_throughput(timed(clock, times.__getitem__, []), 8, max_seconds=1e6, clock=clock)
    assert found.best.batch == 4


def test_no_batch_is_begun_that_would_end_beyond_the_time(clock: Any) -> None:
    asked: list[int] = []
    # Ten steps of each up to 8 take 128 s together, and those of 16 would take 130 s more.
    found = best_throughput(timed(clock, lambda batch: batch**0.9, asked), 64, max_seconds=250, clock=clock)
    assert asked == [1, 2, 4, 8]
    assert found.stopped_by == "time"


def test_batch_one_is_measured_whatever_it_takes(clock: Any) -> None:
    found = best_throughput(timed(clock, lambda batch: 100.0, []), 8, max_seconds=1, clock=clock)
    assert [point.batch for point in found.measured] == [1]


def test_a_batch_that_fails_ends_the_search(clock: Any) -> None:
    found = best_throughput(lambda batch: 1.0 if batch < 4 else None, 8, max_seconds=10, clock=clock)
    assert (found.best.batch, found.stopped_by) == (2, "failed")
    assert best_throughput(lambda batch: None, 8, max_seconds=10, clock=clock) is None


def test_a_single_example_is_its_own_best(clock: Any) -> None:
    assert best_throughput(lambda batch: 0.5, 1, max_seconds=10, clock=clock).best == BatchTime(1, 0.5)


def test_no_batch_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        best_throughput(lambda batch: 1.0, 0, max_seconds=1)

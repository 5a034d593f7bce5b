"""The batch with the best throughput. Pure logic over a callback that measures one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyprof.errors import UsageError
from pyprof.timing.clock import Clock, MonotonicClock

# A throughput that grows by less than this has reached its plateau,
GAIN = 0.02
# and this many such batches in a row end the search: one alone may be a bad size or a bad moment.
PATIENCE = 2


@dataclass(frozen=True)
class BatchTime:
    """How long one step with a batch takes."""

    batch: int
    seconds: float

    @property
    def examples_per_second(self) -> float:
        return self.batch / self.seconds


@dataclass(frozen=True)
class BestThroughput:
    """The best batch, and all that were measured in ascending order.

    `stopped_by` is largest (all sizes were measured), plateau, time, or failed (the next batch gave no time).
    """

    best: BatchTime
    measured: tuple[BatchTime, ...]
    stopped_by: str


def best_throughput(
    measure: Callable[[int], float | None],
    largest: int,
    *,
    max_seconds: float,
    clock: Clock | None = None,
) -> BestThroughput | None:
    """The batch with the most examples per second among 1, 2, 4, ... and `largest`.

    `measure(batch)` gives the seconds of one step, or None where the batch could not be measured. The search ends when
    two batches in a row gain less than 2 % over the best before, or when measuring the next one, at the last one's pace
    per example, would end beyond `max_seconds`; batch 1 is always measured. None where not even that gave a time.
    Raises UsageError for a largest batch below one.
    """
    if largest < 1:
        raise UsageError(f"the largest batch has to be at least 1, not {largest}")
    clock = MonotonicClock() if clock is None else clock
    begin = clock.now_ns()
    measured: list[BatchTime] = []
    best: BatchTime | None = None
    idle, pace_ns, stopped_by = 0, 0.0, "largest"
    for batch in _doubling(largest):
        before = clock.now_ns()
        if measured and before - begin + pace_ns * batch > max_seconds * 1e9:
            stopped_by = "time"
            break
        seconds = measure(batch)
        if seconds is None:
            stopped_by = "failed"
            break
        pace_ns = (clock.now_ns() - before) / batch
        measured.append(BatchTime(batch, seconds))
        gained = best is None or measured[-1].examples_per_second >= best.examples_per_second * (1 + GAIN)
        idle = 0 if gained else idle + 1
        if best is None or measured[-1].examples_per_second > best.examples_per_second:
            best = measured[-1]
        if idle == PATIENCE and batch < largest:
            stopped_by = "plateau"
            break
    return None if best is None else BestThroughput(best, tuple(measured), stopped_by)


def _doubling(largest: int) -> Iterator[int]:
    batch = 1
    while batch < largest:
        yield batch
        batch *= 2
    yield largest

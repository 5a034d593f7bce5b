from __future__ import annotations

import gc
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from pyprof.timing.clock import CudaStopwatch, HostStopwatch, MonotonicClock, clock_step_ns, stopwatch_for, time_calls


class FakeCuda:
    """A stand-in for torch.cuda: a host that queues, and a device that needs `gap` to start and then does the work."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.device_time = 0
        self.current: list[object] = []
        self.log: list[str] = []

    def device(self, device: object) -> AbstractContextManager[None]:
        @contextmanager
        def switched() -> Any:
            self.current.append(device)
            yield
            self.current.pop()

        return switched()

    def synchronize(self) -> None:
        self.log.append("synchronize")
        self.clock.now = max(self.clock.now, self.device_time)

    def queue(self, nanoseconds: int) -> None:
        self.log.append("work")
        self.device_time = max(self.device_time, self.clock.now) + nanoseconds

    def Event(self, enable_timing: bool) -> FakeEvent:
        assert enable_timing
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.at = 0

    def record(self) -> None:
        assert self.cuda.current == ["cuda:1"]
        self.cuda.log.append("record")
        self.at = max(self.cuda.device_time, self.cuda.clock.now)

    def synchronize(self) -> None:
        self.cuda.log.append("wait")
        self.cuda.clock.now = max(self.cuda.clock.now, self.at)

    def elapsed_time(self, end: FakeEvent) -> float:
        return (end.at - self.at) / 1e6


def test_the_host_stopwatch_times_all_repeats_together(clock: Any) -> None:
    assert HostStopwatch(clock).time(clock.work([7, 8, 9]), repeats=3) == 24


def test_the_host_stopwatch_waits_for_queued_work_before_each_stamp(clock: Any) -> None:
    pending = [500]  # queued before the measurement: not its work

    def synchronize() -> None:
        clock.now += sum(pending)
        pending.clear()

    assert HostStopwatch(clock, synchronize).time(lambda: pending.append(30), repeats=2) == 60


def test_cuda_events_time_the_devices_work_and_not_what_was_queued_before(clock: Any) -> None:
    cuda = FakeCuda(clock)
    cuda.queue(1_000_000)
    stopwatch = CudaStopwatch("cuda:1", clock, cuda)
    assert stopwatch.time(lambda: cuda.queue(2_500), repeats=2) == 5_000
    assert cuda.log == ["work", "synchronize", "record", "work", "work", "record", "wait"]
    assert cuda.current == []


def test_the_device_decides_on_the_stopwatch(clock: Any) -> None:
    assert isinstance(stopwatch_for("cpu", clock), HostStopwatch)
    assert isinstance(stopwatch_for("cuda:0", clock), CudaStopwatch)


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

"""The stopwatch of a CUDA device, over a stand-in for torch.cuda."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pyprof.device.cuda_events import CudaStopwatch


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


def test_cuda_events_time_the_devices_work_and_not_what_was_queued_before(clock: Any) -> None:
    cuda = FakeCuda(clock)
    cuda.queue(1_000_000)
    stopwatch = CudaStopwatch("cuda:1", clock, cuda)
    assert stopwatch.time(lambda: cuda.queue(2_500), repeats=2) == 5_000
    assert cuda.log == ["work", "synchronize", "record", "work", "work", "record", "wait"]
    assert cuda.current == []

"""The stopwatch of a CUDA device and calls behind a flush of its cache, over a stand-in for torch.cuda."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

from pyprof.device.cuda import CudaDevice
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

    def is_current_stream_capturing(self) -> bool:
        return False

    def get_device_properties(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(L2_cache_size=1_000)

    def synchronize(self, _: object = None) -> None:
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


def test_a_launch_is_hidden_behind_a_flush_of_the_cache(clock: Any) -> None:
    cuda = FakeCuda(clock)

    class Card(CudaDevice):
        def flush_cache(self) -> None:
            cuda.queue(70_000)

    def call() -> None:
        clock.now += 5_000  # what the host takes to launch it
        cuda.queue(2_500)

    assert Card("cuda:1", cuda).queued_ns(call) == 2_500
    assert cuda.log == ["synchronize", "work", "record", "work", "record", "wait"]


def test_a_flush_writes_twice_what_the_cache_holds(clock: Any) -> None:
    card = CudaDevice("cpu", FakeCuda(clock))  # whose tensors lie on the host
    assert card.cache_bytes == 1_000
    card._flushed.fill_(1)
    card.flush_cache()
    assert card._flushed.tolist() == [0] * 2_000

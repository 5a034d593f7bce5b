"""A CUDA device through PyTorch: its events, its caching allocator, what CUPTI and NVML tell of it.

Wherever `cuda` is a parameter, it is `torch.cuda` unless a test says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from pyprof.device.base import Device, EnergyMeter, Occupation
from pyprof.device.cuda_events import CudaStopwatch, EventTimes, torch_cuda
from pyprof.device.cupti import Activity, CuptiActivity, CuptiLog, union_ns
from pyprof.device.memory import MemoryBudget, MemoryReading
from pyprof.device.nvml import CardEnergy, Nvml
from pyprof.errors import UsageError
from pyprof.failures import is_out_of_memory, sentence

# Floating-point operations per second that transformers reach, on a card of a data centre.
RATE = 20e12
# cuDNN and autotuned kernels choose in their first calls.
_CAPTURE_WARMUPS = 3


class CudaDevice(Device):
    """A card that PyTorch sees: "cuda:1" is the second one, "cuda" the current one.

    Peaks are rounded up by the caching allocator to blocks of 512 bytes, and memory that libraries take beside it
    (cuBLAS's workspaces that PyTorch doesn't give, the context) is not seen. Layer times need the CUDA part of pyprof,
    and throttling needs nvidia-ml-py.
    """

    has_own_time = True
    captures_graphs = True
    usual_dtype = "bfloat16"
    filling_size = 8192

    def __init__(self, name: str = "cuda", cuda: Any = None, activity: Activity | None = None) -> None:
        super().__init__(name)
        self._given = cuda
        self._activity: Activity = CuptiActivity() if activity is None else activity

    @property
    def _cuda(self) -> Any:
        return torch_cuda() if self._given is None else self._given

    def available(self) -> str | None:
        count = self._cuda.device_count() if self._cuda.is_available() else 0
        if int(self.name.partition(":")[2] or 0) < count:
            return None
        if count == 0:
            return f"there is no device {self.name!r} (this PyTorch sees no CUDA device): choose cpu"
        return f"there is no device {self.name!r} (this PyTorch sees {count} CUDA devices): choose cuda or cpu"

    def stopwatch(self) -> CudaStopwatch:
        return CudaStopwatch(self.name, cuda=self._given)

    def synchronize(self) -> None:
        # Waiting for a stream that is being captured into a graph is an error that makes the graph invalid.
        if not self._cuda.is_current_stream_capturing():
            self._cuda.synchronize(self.name)

    def peak_memory(self, fn: Callable[[], object]) -> MemoryReading:
        """Call `fn` once, and tell what it allocated through PyTorch's caching allocator, by anyone in this process."""
        return self.watched_peak_memory(lambda peak: fn())

    def watched_peak_memory(self, fn: Callable[[Callable[[], int]], object]) -> MemoryReading:
        """The same; the allocator keeps its accounts when work is queued, so there is nothing to wait for."""
        cuda, name = self._cuda, self.name
        self.synchronize()
        cuda.reset_peak_memory_stats(name)
        before = cuda.memory_stats(name)
        base = cuda.memory_allocated(name)
        fn(lambda: cuda.max_memory_allocated(name) - base)
        self.synchronize()
        after = cuda.memory_stats(name)
        return MemoryReading(
            peak=cuda.max_memory_allocated(name) - base,
            allocated=after["allocated_bytes.all.allocated"] - before["allocated_bytes.all.allocated"],
            allocations=after["allocation.all.allocated"] - before["allocation.all.allocated"],
            base=base,
        )

    def free_memory(self) -> MemoryBudget:
        """The card's free memory, with what this process's caching allocator holds without need."""
        free, _ = self._cuda.mem_get_info(self.name)
        cached = self._cuda.memory_reserved(self.name) - self._cuda.memory_allocated(self.name)
        return MemoryBudget(free + cached, "the device's free memory")

    def release(self) -> None:
        self._cuda.empty_cache()

    def layer_times(self, capacity: int) -> EventTimes:
        return EventTimes(capacity)

    def capture(self, fn: Callable[[], object]) -> Callable[[], object]:
        """Capture `fn` after a warm-up on a stream beside the current one, as CUDA graphs ask for.

        What it returned and its gradients lie in the graph's own memory, and every replay writes there again.
        """
        cuda = self._cuda
        graph = cuda.CUDAGraph()
        try:
            with cuda.device(self.name):
                beside = cuda.Stream()
                beside.wait_stream(cuda.current_stream())
                with cuda.stream(beside):
                    for _ in range(_CAPTURE_WARMUPS):
                        fn()
                cuda.current_stream().wait_stream(beside)
                with cuda.graph(graph, stream=beside):
                    fn()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise UsageError(
                f"the step cannot be captured into a CUDA graph ({sentence(error)}): leave --launch out"
            ) from error
        replay: Callable[[], object] = graph.replay
        return replay

    @cached_property
    def cache_bytes(self) -> int | None:
        return int(self._cuda.get_device_properties(self.name).L2_cache_size)

    @cached_property
    def _flushed(self) -> Any:
        import torch

        return torch.empty(2 * (self.cache_bytes or 0), dtype=torch.uint8, device=self.name)

    def flush_cache(self) -> None:
        self._flushed.zero_()

    def queued_ns(self, fn: Callable[[], object]) -> int:
        with self._cuda.device(self.name):
            begin, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
            self.synchronize()
            self.flush_cache()  # takes longer than a launch
            begin.record()
            fn()
            end.record()
            end.synchronize()
        return round(float(begin.elapsed_time(end)) * 1e6)

    def busy_ns(self, fn: Callable[[], object]) -> int:
        return self.occupation(fn).busy or 0

    def occupation(self, fn: Callable[[], object]) -> Occupation:
        """Call `fn` once, with the device idle before and after; idle is all but what lies between its first and last
        work.
        """
        self.synchronize()
        with self._activity.recording() as records:
            begin = time.perf_counter_ns()
            fn()
            self.synchronize()
            whole = time.perf_counter_ns() - begin
        work = records()
        span = max(end for _, end in work) - min(begin for begin, _ in work) if work else 0
        return Occupation(union_ns(work), max(whole - span, 0), whole)

    def work_log(self, places: object, clock: object) -> CuptiLog:
        return CuptiLog(places, clock)

    @cached_property
    def nvml(self) -> Nvml | None:
        """The card in NVIDIA's management library; None where that isn't there."""
        return Nvml.of(self.name)

    def energy_meter(self) -> EnergyMeter:
        """NVML's counter of the card, which cards have from Volta on."""
        if self.nvml is None:
            raise UsageError("NVML cannot be asked for the card's energy: install nvidia-ml-py")
        if self.nvml.joules() is None:
            raise UsageError("this card has no counter of its energy: NVML has one from Volta on")
        return CardEnergy(self.nvml)

    def throttled(self) -> bool | None:
        return None if self.nvml is None else self.nvml.throttled()

    def guessed_rate(self, threads: int) -> float:
        """The same for every card and whatever the threads."""
        return RATE

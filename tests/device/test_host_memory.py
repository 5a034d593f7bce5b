"""The exact peak of known programs on the host, and the bytes that are resident before."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pyprof._native import HostMemory
from pyprof.device.cuda import CudaDevice
from pyprof.device.host import HostDevice
from pyprof.device.memory import MemoryReading, resident_bytes, tensors_in
from pyprof.errors import UsageError
from pyprof.indicators.peak_memory import INDICATOR

FLOAT = 4

peak_memory = HostDevice().peak_memory


def test_the_peak_is_the_sum_of_the_live_tensors() -> None:
    def program() -> None:
        first = torch.empty(1000)
        second = torch.empty(500, dtype=torch.float64)
        del first
        third = torch.empty(7, dtype=torch.int8)
        del second, third
        torch.empty(300)

    assert peak_memory(program) == MemoryReading(peak=4000 + 4000, allocated=4000 + 4000 + 7 + 1200, allocations=4)


def test_a_chain_of_operations_keeps_what_is_needed() -> None:
    source = torch.ones(64, 64)

    def program() -> None:
        hidden = source @ source
        hidden = torch.relu(hidden)
        hidden.add_(source)
        hidden.view(-1)[10:20].mul_(source.view(-1)[10:20])

    # The product lives until its relu is there; in-place operations and views take nothing.
    assert peak_memory(program).peak == 2 * 64 * 64 * FLOAT


def test_a_result_is_live_until_the_call_returns() -> None:
    assert peak_memory(lambda: [torch.empty(100) for _ in range(5)]).peak == 5 * 100 * FLOAT


def test_memory_from_before_is_not_counted_even_when_it_is_freed() -> None:
    before = [torch.empty(100_000)]

    def program() -> None:
        before.clear()
        torch.empty(10)

    assert peak_memory(program).peak == 10 * FLOAT


def test_a_backward_counts_its_activations_and_gradients() -> None:
    weight = torch.ones(50, 50, requires_grad=True)
    source = torch.ones(20, 50)

    def program() -> None:
        hidden = (source @ weight).exp()
        gradient = torch.ones(20, 50)
        hidden.backward(gradient)

    reading = peak_memory(program)
    small, large = 20 * 50 * FLOAT, 50 * 50 * FLOAT
    # exp keeps its result, not the product; then come the gradient given, the one of exp, and the weight's.
    assert reading.peak == 3 * small + large
    assert reading.allocated == 4 * small + large


class _Negated(torch.autograd.Function):
    """PyTorch looks at the profiler's state when it calls a function that is written in Python."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.neg()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0].neg()


def test_autograd_functions_written_in_python_are_counted() -> None:
    source = torch.ones(100, requires_grad=True)
    # The result, the gradient given and the one that becomes the source's.
    assert peak_memory(lambda: _Negated.apply(source).backward(torch.ones(100))).peak == 3 * 100 * FLOAT


def test_a_module_whose_result_a_dataclass_holds() -> None:
    layer = nn.Linear(30, 40)
    source = torch.ones(8, 30)
    with torch.inference_mode():
        assert peak_memory(lambda: layer(source)).peak == 8 * 40 * FLOAT


def test_current_and_peak_follow_the_program() -> None:
    with HostMemory() as memory:
        first = torch.empty(10, dtype=torch.uint8)
        assert (memory.current, memory.peak) == (10, 10)
        second = torch.empty(20, dtype=torch.uint8)
        assert (memory.current, memory.peak) == (30, 30)
        del first
        assert (memory.current, memory.peak) == (20, 30)
        del second
    torch.empty(1000)
    assert (memory.current, memory.peak, memory.allocated, memory.allocations) == (0, 30, 30, 2)


def test_an_inner_counter_does_not_take_from_the_outer_one() -> None:
    with HostMemory() as outer:
        first = torch.empty(100, dtype=torch.uint8)
        with HostMemory() as inner:
            second = torch.empty(10, dtype=torch.uint8)
        third = torch.empty(1, dtype=torch.uint8)
    assert (inner.peak, outer.peak) == (10, 111)
    assert first.numel() + second.numel() + third.numel() == 111


def test_the_counter_stops_after_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), HostMemory() as memory:
        raise ZeroDivisionError
    torch.empty(1000)
    assert memory.allocated == 0


def test_another_thread_counts_when_it_is_attached() -> None:
    kept: list[torch.Tensor] = []

    def unseen() -> None:
        kept.append(torch.empty(1000, dtype=torch.uint8))

    def seen(attachment: Any) -> None:
        with attachment:
            kept.append(torch.empty(70, dtype=torch.uint8))

    with HostMemory() as memory:
        kept.append(torch.empty(5, dtype=torch.uint8))
        for thread in (threading.Thread(target=unseen), threading.Thread(target=seen, args=(memory.attach(),))):
            thread.start()
            thread.join()
    assert memory.peak == 75


def test_a_running_profiler_is_refused() -> None:
    with torch.autograd.profiler.profile(), pytest.raises(UsageError, match="stop the profiler first"):
        peak_memory(lambda: torch.empty(1))


def test_exceptions_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):
        peak_memory(lambda: 1 // 0)


def test_tied_parameters_and_views_count_once() -> None:
    module = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    assert resident_bytes(module) == 2 * 100 * FLOAT
    module[1].weight = module[0].weight
    assert resident_bytes(module) == 100 * FLOAT
    view = torch.zeros(50)
    assert resident_bytes(module, {"a": view[:10], "b": [view[20:], None, "text"]}) == 100 * FLOAT + 50 * FLOAT


def test_buffers_and_their_dtype_count() -> None:
    module = nn.BatchNorm1d(8)
    assert resident_bytes(module) == 4 * 8 * FLOAT + 8  # weight, bias, mean, variance; one 64-bit counter
    assert resident_bytes(module.half()) == 4 * 8 * 2 + 8


def test_what_other_libraries_take_is_not_counted_and_the_indicator_says_so() -> None:
    def program() -> None:
        taken = np.ones(1_000_000)
        torch.empty(10)
        shared = torch.from_numpy(taken)
        bytearray(1_000_000)
        del shared

    assert peak_memory(program).peak == 10 * FLOAT
    assert "allocated by PyTorch" in INDICATOR.meaning


def test_an_input_that_is_a_parameter_counts_once() -> None:
    module = nn.Linear(3, 4)
    assert resident_bytes(module, [module.weight]) == resident_bytes(module) == 16 * FLOAT


def test_meta_tensors_and_empty_ones_occupy_nothing() -> None:
    assert resident_bytes(nn.Linear(100, 100, device="meta"), [torch.empty(0), torch.empty(0, 5)]) == 0


def test_a_sparse_tensor_holds_values_and_indices() -> None:
    assert resident_bytes(None, torch.eye(3).to_sparse()) == 3 * FLOAT + 2 * 3 * 8
    compressed = torch.sparse_csr_tensor(torch.arange(4), torch.arange(3), torch.ones(3))
    assert resident_bytes(None, compressed) == 3 * FLOAT + (4 + 3) * 8


def test_packed_weights_and_plain_attributes_are_resident() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(512, 512)), {nn.Linear})
        cell = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.GRUCell(4, 6)), {nn.GRUCell})
    assert resident_bytes(linear) == 512 * 512 + 512 * FLOAT
    # A quantised cell keeps its biases twice, packed and plain.
    assert resident_bytes(cell) == 18 * 10 + 2 * 2 * 18 * FLOAT
    plain = nn.Linear(2, 2)
    plain.table = torch.zeros(10)  # type: ignore[assignment]
    assert resident_bytes(plain) == 6 * FLOAT + 10 * FLOAT


def test_tensors_are_found_in_any_nesting() -> None:
    @dataclass
    class Output:
        first: torch.Tensor
        second: object

    a, b, c = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    found = list(tensors_in({"x": (a, [Output(b, {"y": c})]), "n": 3, "s": "text"}))
    assert [tensor.numel() for tensor in found] == [1, 2, 3]


class FakeCuda:
    """A stand-in for torch.cuda's allocator counters."""

    def __init__(self) -> None:
        self.live = self.top = 1_000
        self.total, self.count = 5_000, 9
        self.synchronized = 0

    def is_current_stream_capturing(self) -> bool:
        return False

    def synchronize(self, device: object) -> None:
        self.synchronized += 1

    def reset_peak_memory_stats(self, device: object) -> None:
        self.top = self.live

    def memory_allocated(self, device: object) -> int:
        return self.live

    def max_memory_allocated(self, device: object) -> int:
        return self.top

    def memory_stats(self, device: object) -> dict[str, int]:
        return {"allocated_bytes.all.allocated": self.total, "allocation.all.allocated": self.count}

    def allocate(self, size: int) -> None:
        self.live += size
        self.top = max(self.top, self.live)
        if size > 0:
            self.total += size
            self.count += 1


def test_on_cuda_the_peak_is_what_comes_on_top() -> None:
    cuda = FakeCuda()
    cuda.allocate(10_000)
    cuda.allocate(-10_000)

    def program() -> None:
        cuda.allocate(512)
        cuda.allocate(1024)
        cuda.allocate(-512)

    assert CudaDevice("cuda", cuda).peak_memory(program) == MemoryReading(
        peak=1536, allocated=1536, allocations=2, base=1_000
    )
    assert cuda.synchronized == 2


def test_lazy_tensors_occupy_nothing_before_the_first_forward():
    module = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
    assert resident_bytes(module) == 8  # the number of batches seen
    module(torch.ones(3, 4))
    assert resident_bytes(module) == 4 * (2 * 4 + 2 + 4 * 2) + 8

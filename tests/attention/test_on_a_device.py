"""The comparison on a device that works beside the host: its own time, the host's beside it, bounds and peers."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch._functorch.config
from rich.console import Console

from pyprof import device as devices
from pyprof.attention import Grid, RoundLimits, compare, copying, measure, peers
from pyprof.attention.kernel_time import KernelStopwatch
from pyprof.attention.problem import Problem
from pyprof.cli import attention as command
from pyprof.cli.main import build_parser
from pyprof.errors import UsageError
from pyprof.ops.window_attention import flops
from pyprof.report import attention as report
from pyprof.report.page.attention import attention_page

sys.path.append(str(Path(__file__).parents[1] / "device"))
import fake_device
from fake_device import GraphDevice, masked_on_chip

FLUSH_NS, LAUNCH_NS = 70_000, 5_000
PRODUCT_NS, COPY_NS = 1_000, 2_000
KERNEL_NS = 4_000


class Card(GraphDevice):
    """The chip with a cache; a flush and a launch take time that is no kernel's."""

    cache_bytes = 1_000  # type: ignore[assignment]
    records = True

    def flush_cache(self) -> None:
        fake_device.CHIP.now += FLUSH_NS
        flushes.append(fake_device.CHIP.now)

    def busy_ns(self, fn: Callable[[], object]) -> int:
        if not self.records:
            raise UsageError("another profiler in this process is using CUPTI: measure the latency")
        return super().busy_ns(fn)

    def queued_ns(self, fn: Callable[[], object]) -> int:
        self.flush_cache()
        begin = fake_device.CHIP.now
        fn()
        return fake_device.CHIP.now - begin

    def capture(self, fn: Callable[[], object]) -> Callable[[], object]:
        if not capturable:
            raise UsageError("the step cannot be captured into a CUDA graph (it waits): leave --launch out")
        captured.append(fn)
        return super().capture(fn)


flushes: list[int] = []
captured: list[object] = []
capturable: list[bool] = []


class Product:
    flops = 10**9

    def __init__(self, *_: object) -> None:
        pass

    def __call__(self) -> None:
        fake_device.CHIP.now += PRODUCT_NS  # 1e15 operations a second


class Copy:
    moved = 10**4

    def __init__(self, *_: object) -> None:
        pass

    def __call__(self) -> None:
        fake_device.CHIP.now += COPY_NS  # 5e9 bytes a second


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_device.Chip]:
    fresh = fake_device.Chip()
    monkeypatch.setattr(fake_device, "CHIP", fresh)
    monkeypatch.setattr("pyprof.attention.measure.Yardstick", Product)
    monkeypatch.setattr("pyprof.attention.measure.Copy", Copy)
    for noted in (flushes, captured, capturable):
        noted.clear()
    capturable.append(True)
    devices.register("fake", Card)
    yield fresh
    devices.unregister("fake")


def ours(query: Any, key: Any, value: Any, window: Any) -> Any:
    return masked_on_chip(query, key, value, window, KERNEL_NS)


def compared(mode: str = "forward", **changes: Any) -> Any:
    grid = Grid(
        lengths=(32,),
        windows=((3, 3),),
        modes=(mode,),
        impls=(),
        kernels={"ours": ours},
        heads=1,
        head_dim=8,
        device="fake",
        care=RoundLimits(0.2, most_rounds=8, fewest_rounds=6),
        **changes,
    )
    comparison = compare(grid)
    ((row,),) = (result.rows for result in comparison.results)
    return comparison, comparison.results[0], row


def printed(comparison: Any) -> str:
    file = io.StringIO()
    report.write(comparison, Console(file=file, width=120))  # type: ignore[arg-type]
    return " ".join(file.getvalue().split())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_kernels_time_is_the_devices_own_and_the_rest_stands_beside_it(chip: fake_device.Chip, dtype: str) -> None:
    _, result, row = compared(dtypes=(dtype,))
    assert (row.status, row.reason) == ("ok", None)
    assert set(row.samples) == {KERNEL_NS}
    assert (row.timed_by, row.seconds.value) == ("kernels", pytest.approx(KERNEL_NS * 1e-9))
    assert len(flushes) > 3 * len(row.samples)  # those of the limits, too
    assert row.host_seconds == pytest.approx(KERNEL_NS * 1e-9)  # a chip whose host waits for it
    assert result.limit.value == pytest.approx(1e15)
    assert result.bandwidth.value == pytest.approx(5e9)
    useful, _ = flops(1, 1, 32, 8, (3, 3), backward=False)
    itemsize = 4 if dtype == "float32" else 2
    assert result.flops == useful
    assert result.least_bytes == 4 * 32 * 8 * itemsize
    assert row.bound_by == "memory"
    assert row.of_bound == pytest.approx(result.least_bytes / 5e9 / (KERNEL_NS * 1e-9))


def test_the_limit_is_a_product_that_fills_the_device(chip: fake_device.Chip, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(Product, "__init__", lambda self, *given: made.append(given))
    monkeypatch.setattr(Card, "filling_size", 8192)
    monkeypatch.setattr("pyprof.attention.measure.LIMIT_SIZE", None)
    _, result, _ = compared(dtypes=("bfloat16",))
    assert made == [("cpu", "bfloat16", 8192)]
    assert result.limit_size == 8192


def test_unless_told_otherwise_the_dtype_is_what_is_in_use_on_the_device(
    chip: fake_device.Chip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Card, "usual_dtype", "bfloat16")
    for words, dtypes in (([], ("bfloat16",)), (["--dtypes", "float32,float16"], ("float32", "float16"))):
        options = build_parser().parse_args(["attention", "--device", "fake", *words])
        assert command._grid(options).dtypes == dtypes


def test_the_buffers_of_flex_are_not_donated_since_its_backward_is_timed_many_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []

    def compiled(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
        assert how == {"fullgraph": True, "dynamic": False}

        def call(*tensors: torch.Tensor) -> Any:
            seen.append(torch._functorch.config.donated_buffer)
            return function(*tensors)

        return call

    monkeypatch.setattr("torch.compile", compiled)
    before = torch._functorch.config.donated_buffer
    attend = peers._compiled(lambda query, key, value: query + key + value, "sum")
    tensors = [torch.ones(1, device="meta", requires_grad=True) for _ in range(3)]
    assert attend(*tensors).requires_grad
    attend(*(tensor.detach() for tensor in tensors))
    assert seen == [False, before]
    with pytest.raises(NotImplementedError, match="no backward on the host"):
        attend(*(torch.ones(1, requires_grad=True) for _ in range(3)))


def test_what_is_bound_by_compute_says_so(chip: fake_device.Chip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Product, "flops", 1_000)  # 1e9 operations a second
    _, result, row = compared()
    assert row.bound_by == "compute"
    assert row.of_bound == pytest.approx(result.flops / 1e9 / (KERNEL_NS * 1e-9))


def test_where_no_records_can_be_had_a_captured_graph_is_timed(
    chip: fake_device.Chip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Card, "records", False)
    comparison, result, row = compared()
    assert row.timed_by == "graph"
    assert result.no_records == "another profiler in this process is using CUPTI"
    assert result.to_json()["no_records"] == result.no_records
    assert f"no kernel times: {result.no_records} " in printed(comparison)
    assert f"No kernel times: {result.no_records}." in attention_page(comparison)
    assert set(row.samples) == {round(fake_device.REPLAYED * KERNEL_NS)}
    assert len(captured) == 3  # each call once: the limits and the kernel
    captured.clear()
    capturable.clear()
    _, _, row = compared()
    assert row.timed_by == "events"
    assert set(row.samples) == {KERNEL_NS}


def test_inputs_take_turns_where_a_cache_would_keep_them(
    chip: fake_device.Chip, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, int] = {}

    def counted(query: Any, key: Any, value: Any, window: Any) -> Any:
        seen[query.data_ptr()] = seen.get(query.data_ptr(), 0) + 1
        return ours(query, key, value, window)

    timed = measure.interleave

    def timed_alone(*given: Any, **how: Any) -> Any:
        seen.clear()  # the check of the kernel has called it too
        return timed(*given, **how)

    monkeypatch.setattr(measure, "interleave", timed_alone)
    monkeypatch.setattr(Card, "cache_bytes", 5 * 4 * 32 * 8 * 4)
    grid = Grid(
        lengths=(32,),
        windows=((3, 3),),
        modes=("forward",),
        impls=(),
        kernels={"ours": counted},
        heads=1,
        head_dim=8,
        device="fake",
        care=RoundLimits(0.2, most_rounds=16, fewest_rounds=16),
    )
    compare(grid)
    # Twice the cache would be ten sets, and a quarter of the free memory is six.
    assert len(seen) == 6
    assert sum(seen.values()) >= 16
    assert max(seen.values()) - min(seen.values()) <= 1


def test_a_copy_counts_what_it_reads_and_what_it_writes() -> None:
    copy = copying.Copy("cpu", 100)
    copy._from.fill_(3)
    copy()
    assert copy._to.tolist() == [3] * 100
    assert copy.moved == 200


def test_the_table_has_the_hosts_time_and_the_bound(chip: fake_device.Chip) -> None:
    comparison, _, _ = compared()
    said = printed(comparison)
    assert "a copy 5 GB/s" in said
    assert "host" in said
    assert "memory 20%" in said
    assert "by the records of its work, the cache flushed before" in said
    assert "no kernel times" not in said
    page = attention_page(comparison)
    assert all(f">{cell}<" in page for cell in ("of bound", "4.00 µs", "memory 20 %", "kernels"))
    assert "No kernel times" not in page
    plain = comparison.to_json()["contests"][0]
    assert plain["rows"][0]["timed_by"] == "kernels"
    assert plain["bandwidth_bytes_per_second"]["value"] == pytest.approx(5e9)


def test_the_host_is_as_it_was() -> None:
    grid = Grid(lengths=(16,), windows=((2, 2),), modes=("forward",), impls=("sdpa",), heads=1, head_dim=8)
    comparison = compare(grid)
    (result,) = comparison.results
    assert ">of bound<" not in attention_page(comparison)
    assert (result.bandwidth, result.rows[0].host_seconds, result.rows[0].timed_by) == (None, None, "host")


PROBLEM = Problem(8, (2, 2), heads=1, head_dim=4, dtype="bfloat16")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("flash-attn", "flash-attn cannot be imported"),
        ("flash-attn-4", "flash-attn-4 cannot be imported"),
        ("natten", "natten cannot be imported"),
    ],
)
def test_a_peer_that_is_not_installed_is_left_blank_with_the_reason(name: str, package: str) -> None:
    with pytest.raises(NotImplementedError, match=package):
        next(peers.find(name, "cuda").variants(PROBLEM))


def test_peers_of_other_packages_are_called_as_they_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, Any] = {}

    def recorded(name: str) -> Any:
        def function(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **how: Any) -> Any:
            called[name] = (tuple(query.shape), how)
            return (query, None) if name == "flash_attn.cute" else query

        return function

    functions = (("flash_attn", "flash_attn_func"), ("flash_attn.cute", "flash_attn_func"), ("natten", "na1d"))
    for module, name in functions:
        made = ModuleType(module)
        setattr(made, name, recorded(module))
        monkeypatch.setitem(sys.modules, module, made)
    tensors = [torch.ones(PROBLEM.shape, dtype=torch.bfloat16) for _ in range(3)]
    for name in ("flash-attn", "flash-attn-4", "natten"):
        (variant,) = peers.find(name, "cuda").variants(PROBLEM)
        assert variant.attend(*tensors).shape == PROBLEM.shape
    assert called == {
        "flash_attn": ((1, 8, 1, 4), {"window_size": (2, 2)}),
        "flash_attn.cute": ((1, 8, 1, 4), {"window_size": (2, 2)}),
        "natten": ((1, 8, 1, 4), {"kernel_size": 5}),
    }
    causal = Problem(8, (2, 0), heads=1, head_dim=4, dtype="bfloat16")
    with pytest.raises(NotImplementedError, match="as wide on both sides"):
        next(peers.find("natten", "cuda").variants(causal))


def test_dense_peers_are_for_their_time_alone_and_in_16_bits() -> None:
    assert [name for name in peers.names("cuda") if not peers.find(name, "cuda").windowed] == [
        "dense-flash",
        "dense-cudnn",
        "natten",
    ]
    for name in ("dense-flash", "dense-cudnn"):
        with pytest.raises(NotImplementedError, match="16 bits"):
            next(peers.find(name, "cuda").variants(Problem(8, (2, 2))))
        assert len(list(peers.find(name, "cuda").variants(PROBLEM))) == 1
    assert not set(peers.names("cpu")) & {"dense-flash", "dense-cudnn", "natten", "flash-attn", "flash-attn-4", "flash"}


def test_the_stopwatch_tries_records_before_anything_is_timed(chip: fake_device.Chip) -> None:
    stopwatch = KernelStopwatch(Card("fake"))
    assert stopwatch.reason is None
    assert stopwatch.time(lambda: setattr(chip, "now", chip.now + 7), 3) == 21

"""The CUDA kernels of window attention on a card: beside FlashAttention's, and beside what bytes and FLOPs allow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from harness import Bar, Figures, note, publish
from torch import Tensor

from pyprof.failures import Failure, attempt

METHOD = """\
Each row is batch, heads, length, head_dim and neighbours on each side, in bfloat16. Each figure is of one launch in a
CUDA graph that goes over so many copies of the tensors that they do not stay in the second-level cache, replayed for
--seconds; the median of the replays.

Kernels: Hopper's own (compute capability 9.0 alone); those for every card (mma.sync), and their backward in one pass,
which nothing takes by itself; FlashAttention-2 with a window as PyTorch ships it; FlashAttention-4 where the package
flash-attn-4 can be imported. Limits, of an H100: every tensor once at 3.0 TB/s, and useful FLOPs (4 or 10 times
head_dim for each pair of a query and a key that it sees) at 800 TFLOP/s. Prototype: what Hopper's kernels were written
from took there.

Promised: Hopper's kernels faster than both FlashAttentions, and at most 1.05 times the prototype. And of L-HuBERT
base at batch 32 and 1,000 tokens the attention's forward and backward, by the kernels that auto takes, at most a third
of HuBERT's, which is PyTorch's fused dense attention.
"""
OURS = ("hopper", "mma", "mma_one_pass")
KERNELS = (*OURS, "FlashAttention-2", "FlashAttention-4")
COLUMNS = ("batch, heads, length, head_dim, window", "direction", "bytes", "FLOPs", *KERNELS, "prototype")
BESIDE_PROTOTYPE, BESIDE_DENSE = 1.05, 1 / 3
BYTES_A_SECOND, FLOPS_A_SECOND = 3.0e12, 800e12
CACHE_BYTES = 100_000_000


@dataclass(frozen=True)
class Shape:
    """A problem, and what the prototypes took for it in us, where they were measured."""

    batch: int
    heads: int
    length: int
    head_dim: int
    side: int
    forward: float | None = None
    backward: float | None = None

    @property
    def name(self) -> str:
        return f"{self.batch}, {self.heads}, {self.length}, {self.head_dim}, {self.side}"

    def limits(self, backward: bool) -> tuple[float, float]:
        """In us: each tensor read or written once, and the FLOPs."""
        elements = self.batch * self.heads * self.length * self.head_dim
        side = min(self.side, self.length - 1)
        pairs = self.batch * self.heads * (self.length * (2 * side + 1) - side * (side + 1))
        moved, flops = (8, 10) if backward else (4, 4)
        return 1e6 * moved * elements * 2 / BYTES_A_SECOND, 1e6 * flops * self.head_dim * pairs / FLOPS_A_SECOND


SHAPES = (
    Shape(1, 12, 2500, 64, 16, 10.5, 18.8),
    Shape(1, 12, 2500, 64, 128, 15.4, 38.0),
    Shape(1, 12, 4096, 64, 256, 26.6, 73.0),
    Shape(8, 12, 2500, 64, 16, 48.0, 95.1),
    Shape(8, 12, 2500, 64, 32, 49.0, 111),
    Shape(8, 12, 2500, 64, 50, 54.2, 174),
    Shape(8, 12, 2500, 64, 128, 71.9, 217),
    Shape(32, 12, 500, 64, 16, 38.7, 77.7),
    Shape(1, 32, 16384, 64, 1024, 583, 1672),
    Shape(1, 32, 16384, 128, 256, 327, 990),
    Shape(1, 32, 16384, 128, 1024, 849, 2626),
    Shape(1, 32, 65536, 128, 512, 2060, 6897),
)
L_HUBERT = Shape(32, 12, 1000, 64, 16)
# Name, direction, two limits, a figure for each of KERNELS, the prototype's.
Row = tuple[str, str, float, float, *tuple[float | None, ...]]
Calls = list[Callable[[], object]]


@contextmanager
def kernels(name: str) -> Iterator[None]:
    """Which CUDA kernels run inside: one of ours by its name, else those that are taken by themselves."""
    before = os.environ.pop("PYPROF_CUDA_KERNELS", None)
    if name in OURS:
        os.environ["PYPROF_CUDA_KERNELS"] = name
    try:
        yield
    finally:
        os.environ.pop("PYPROF_CUDA_KERNELS", None)
        if before is not None:
            os.environ["PYPROF_CUDA_KERNELS"] = before


def run(seconds: float, as_json: bool) -> int:
    """Measure all rows and publish them; returns 0, or 1 where a bar does not hold."""
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device that this PyTorch can use: run this where there is one")
    rows = measured(seconds)
    dense, bars = beside_dense(seconds)
    return publish(METHOD, [table(rows), dense], [*bars_of(rows), *bars], as_json)


def measured(seconds: float, shapes: Sequence[Shape] = SHAPES) -> list[Row]:
    """A row for each shape and direction; None where a kernel has no figure."""
    rows: list[Row] = []
    for shape in shapes:
        for backward in (False, True):
            direction = "backward" if backward else "forward"
            figures = [_figure(shape, name, backward, seconds) for name in KERNELS]
            limits, prototype = shape.limits(backward), shape.backward if backward else shape.forward
            rows.append((shape.name, direction, *limits, *figures, prototype))
            told = [f"{name} {us:.1f}" for name, us in zip(KERNELS, figures, strict=True) if us is not None]
            note(f"{shape.name} {direction}, us: {', '.join(told)}")
    return rows


def beside_dense(seconds: float) -> tuple[Figures, list[Bar]]:
    """L-HuBERT's attention beside HuBERT's."""
    rows, names = [], ("auto", "dense")
    for backward in (False, True):
        direction = "backward" if backward else "forward"
        rows.append((L_HUBERT.name, direction, *(_figure(L_HUBERT, name, backward, seconds) for name in names)))
    ours, dense = (None if None in us else sum(us) for us in list(zip(*rows, strict=True))[2:])
    bars = []
    if ours is not None and dense is not None:
        bars.append(Bar("L-HuBERT's attention, of HuBERT's", ours / dense, "", BESIDE_DENSE))
    return Figures("Microseconds, L-HuBERT beside HuBERT", (*COLUMNS[:2], "L-HuBERT", "HuBERT"), rows), bars


def table(rows: Sequence[Row]) -> Figures:
    """What was measured; the first two figures are limits."""
    return Figures("Microseconds", COLUMNS, rows)


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """What was promised, of the figures that there are."""
    bars = []
    for name, direction, _, _, hopper, _, _, *flashes, prototype in rows:
        peers = [us for us in flashes if us is not None]
        if hopper is not None and peers:
            bars.append(Bar(f"{name} {direction}, of FlashAttention's time", hopper / min(peers), "", 1.0))
        if hopper is not None and prototype is not None:
            bars.append(Bar(f"{name} {direction}", hopper, "us", BESIDE_PROTOTYPE * prototype))
    return bars


def _figure(shape: Shape, kernel: str, backward: bool, seconds: float) -> float | None:
    if kernel == "hopper" and torch.cuda.get_device_capability() != (9, 0):
        return None
    if kernel == "mma_one_pass" and not backward:
        return None
    stream = torch.cuda.Stream()

    def once() -> float:
        with kernels(kernel), torch.cuda.stream(stream):
            return _microseconds(_calls(shape, kernel, backward), seconds, stream)

    found = attempt(once)
    torch.cuda.empty_cache()
    if isinstance(found, Failure):
        note(f"{shape.name}: {kernel} has no figure: {found.reason}")
        return None
    return found


def _calls(shape: Shape, kernel: str, backward: bool) -> Calls:
    """One call for each copy of the tensors, on the stream of the caller."""
    of_a_copy = 8 * shape.batch * shape.heads * shape.length * shape.head_dim
    random = torch.Generator("cuda").manual_seed(shape.length + shape.head_dim)

    def drawn() -> Tensor:  # (batch, length, heads, head_dim), as projections give it
        sizes = (shape.batch, shape.length, shape.heads, shape.head_dim)
        return torch.randn(sizes, generator=random, device="cuda", dtype=torch.bfloat16)

    maker = {"FlashAttention-2": _flash_2, "FlashAttention-4": _flash_4, "dense": _dense}.get(kernel, _ours)
    copies = max(2, CACHE_BYTES // of_a_copy + 1)
    return [maker(shape, [drawn() for _ in range(4)], backward) for _ in range(copies)]


def _ours(shape: Shape, tensors: Sequence[Tensor], backward: bool) -> Callable[[], object]:
    operators, (query, key, value, grad) = torch.ops.pyprof, [tensor.transpose(1, 2) for tensor in tensors]
    options = (shape.side, shape.side, None, shape.head_dim**-0.5, 0.0, None, "cuda")
    if not backward:
        return lambda: operators.window_attention(query, key, value, *options)
    output, lse = operators.window_attention(query, key, value, *options)
    return lambda: operators.window_attention_backward(grad, None, query, key, value, output, lse, *options)


def _flash_2(shape: Shape, tensors: Sequence[Tensor], backward: bool) -> Callable[[], object]:
    aten, (query, key, value, grad) = torch.ops.aten, tensors
    sides = {"window_size_left": shape.side, "window_size_right": shape.side}
    lengths = (shape.length, shape.length)

    def forward() -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = aten._flash_attention_forward(
            query, key, value, None, None, *lengths, 0.0, False, False, **sides
        )
        return found

    if not backward:
        return forward
    output, lse, state, unused = forward()[:4]
    return lambda: aten._flash_attention_backward(
        grad, query, key, value, output, lse, None, None, *lengths, 0.0, False, state, unused, **sides
    )


def _flash_4(shape: Shape, tensors: Sequence[Tensor], backward: bool) -> Callable[[], object]:
    from flash_attn.cute import flash_attn_func  # type: ignore[import-not-found]

    *inputs, grad = tensors
    sides = (shape.side, shape.side)
    if not backward:
        return lambda: flash_attn_func(*inputs, window_size=sides)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    output = flash_attn_func(*leaves, window_size=sides)[0]
    return lambda: torch.autograd.grad(output, leaves, grad, retain_graph=True)


def _dense(shape: Shape, tensors: Sequence[Tensor], backward: bool) -> Callable[[], object]:
    attend = torch.nn.functional.scaled_dot_product_attention
    *inputs, grad = (tensor.transpose(1, 2).requires_grad_(backward) for tensor in tensors)
    if not backward:
        return lambda: attend(*inputs)
    output = attend(*inputs)
    return lambda: torch.autograd.grad(output, inputs, grad, retain_graph=True)


def _microseconds(made: Calls, seconds: float, stream: torch.cuda.Stream) -> float:
    """Of one launch: the median of replays of a CUDA graph with one launch for each copy."""
    for call in made:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        results = [call() for call in made]  # each has memory of its own while all are kept
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < 1e3 * seconds:
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end))
    del results
    return 1e3 * sorted(taken)[len(taken) // 2] / len(made)

"""Hopper's kernels of window attention on a card: right, the same every time, and how fast beside FlashAttention-2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from harness import Bar, Figures, note, parser, publish
from torch import Tensor

from pyprof.ops.window_attention import window_attention

METHOD = """\
Right: output and gradients of every problem against dense attention in float64, where eager attention in the same dtype
has the error that is allowed twice, and 20 further runs, whose bits must be those of the first. Problems fill no tile,
share keys, have key lengths, one side, no side, or more than the sequence.

Fast: bfloat16; each figure is of one launch in a CUDA graph that goes over so many copies of the tensors that they do
not stay in the second-level cache, replayed for --seconds. The kernels are Hopper's, those for every card, and
FlashAttention-2 with a window as PyTorch ships it. Prototype: what the kernels were written from took, on an H100.

--sanitize runs the checks of few problems under compute-sanitizer: memcheck, racecheck, initcheck.
"""
# Batch, heads, length, head_dim, neighbours on each side; the prototypes' forward and backward, in us.
SHAPES = (
    (1, 12, 2500, 64, 16, 10.5, 18.8),
    (1, 12, 2500, 64, 128, 15.4, 38.0),
    (1, 12, 4096, 64, 256, 26.6, 73.0),
    (8, 12, 2500, 64, 16, 48.0, 95.1),
    (8, 12, 2500, 64, 32, 49.0, 111),
    (8, 12, 2500, 64, 50, 54.2, 174),
    (8, 12, 2500, 64, 128, 71.9, 217),
    (32, 12, 500, 64, 16, 38.7, 77.7),
    (1, 32, 16384, 64, 1024, 583, 1672),
    (1, 32, 16384, 128, 256, 327, 995),
    (1, 32, 16384, 128, 1024, 849, 2734),
    (1, 32, 65536, 128, 512, 2060, 6897),
)
BESIDE_PROTOTYPE = 1.05
CACHE_BYTES = 100_000_000
RUNS = 20
TOOLS = ("memcheck", "racecheck", "initcheck")
KERNELS = ("hopper", "every card", "FlashAttention-2")


@dataclass(frozen=True)
class Case:
    """A problem whose result is checked: (left, right), (batch, heads, key heads, length, head_dim), key lengths."""

    window: tuple[int, int]
    sizes: tuple[int, int, int, int, int]
    lengths: tuple[int, ...] | None = None


CASES = tuple(
    Case(window, (batch, heads, key_heads, length, head_dim), lengths)
    for head_dim in (64, 128)
    for window, batch, heads, key_heads, length, lengths in (
        ((16, 16), 1, 3, 3, 333, None),
        ((0, 0), 1, 2, 2, 65, None),
        ((30, 9), 2, 4, 4, 200, (200, 61)),
        ((128, 0), 1, 4, 2, 1000, None),
        ((1000, 1000), 2, 2, 1, 200, (0, 199)),
        ((200, 201), 2, 4, 2, 1500, (1500, 733)),
        ((900, 900), 1, 3, 3, 2100, None),
    )
)


@contextmanager
def kernels(name: str) -> Iterator[None]:
    """Which CUDA kernels run inside."""
    before = os.environ.pop("PYPROF_CUDA_KERNELS", None)
    if name == "hopper":
        os.environ["PYPROF_CUDA_KERNELS"] = "hopper"
    try:
        yield
    finally:
        os.environ.pop("PYPROF_CUDA_KERNELS", None)
        if before is not None:
            os.environ["PYPROF_CUDA_KERNELS"] = before


def drawn(sizes: Sequence[int], dtype: torch.dtype, device: str) -> list[Tensor]:
    """Query, key, value and the gradient of the output, in the layout of a model's projections."""
    batch, heads, key_heads, length, head_dim = sizes
    random = torch.Generator().manual_seed(length + head_dim)

    def normal(count: int) -> Tensor:
        return torch.randn(batch, length, count, head_dim, generator=random).to(device, dtype).transpose(1, 2)

    return [normal(heads), normal(key_heads), normal(key_heads), normal(heads)]


def dense(query: Tensor, key: Tensor, value: Tensor, case: Case) -> Tensor:
    """Dense attention under a mask, in the tensors' own type."""
    heads, length = query.shape[1:3]
    key, value = (tensor.repeat_interleave(heads // tensor.shape[1], dim=1) for tensor in (key, value))
    place = torch.arange(length, device=query.device)
    distance = place[None, :] - place[:, None]
    seen = ((distance >= -case.window[0]) & (distance <= case.window[1])).expand(query.shape[0], 1, length, length)
    if case.lengths is not None:
        seen = seen & (place < torch.tensor(case.lengths, device=query.device)[:, None, None, None])
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
    return torch.where(seen, scores.softmax(-1), 0.0) @ value


def with_gradients(attend: Callable[[Tensor, Tensor, Tensor], Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The output, and the gradients of query, key and value."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors[:3]]
    output = attend(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, tensors[3])]


def check(case: Case, dtype: torch.dtype, device: str, runs: int) -> tuple[float, int]:
    """The largest error as a share of what is allowed, and how many of `runs` gave other bits than the first."""
    tensors = drawn(case.sizes, dtype, device)
    lengths = None if case.lengths is None else torch.tensor(case.lengths, device=device)

    def ours() -> list[Tensor]:
        return with_gradients(lambda q, k, v: window_attention(q, k, v, case.window, lengths), tensors)

    exact = with_gradients(lambda q, k, v: dense(q, k, v, case), [tensor.double() for tensor in tensors])
    eager = with_gradients(lambda q, k, v: dense(q, k, v, case), tensors)
    first = ours()
    largest = max(float(each.abs().max()) for each in exact)
    shares = []
    for mine, plain, right in zip(first, eager, exact, strict=True):
        allowed = 2 * (plain - right).abs().max() + torch.finfo(dtype).eps * (right.abs().max() or largest)
        shares.append(float((mine - right).abs().max() / allowed))
    others = sum(not all(map(torch.equal, ours(), first)) for _ in range(runs))
    return max(shares), others


def checks(device: str, cases: Sequence[Case], runs: int) -> tuple[Figures, list[Bar]]:
    """Every case in both 16-bit types."""
    rows = []
    for case in cases:
        for dtype in (torch.bfloat16, torch.float16):
            name = f"{case.window}, {case.sizes}, {str(dtype).removeprefix('torch.')}"
            share, others = check(case, dtype, device, runs)
            note(f"{name}: error {share:.2f} of what is allowed, {others} of {runs} runs with other bits")
            rows.append((name, share, others))
    columns = ("window, sizes, dtype", "error / allowed", "runs with other bits")
    worst, others = max(row[1] for row in rows), sum(row[2] for row in rows)
    bars = [Bar("largest error, of what is allowed", worst, "", 1.0), Bar("runs with other bits", others, "", 0)]
    return Figures("Right", columns, rows), bars


def calls(shape: Sequence[float], kernel: str, backward: bool) -> list[Callable[[], object]]:
    """One call for each copy of the tensors."""
    batch, heads, length, head_dim, side = (int(number) for number in shape[:5])
    made: list[Callable[[], object]] = []
    copies = max(2, CACHE_BYTES // (batch * heads * length * head_dim * 8) + 1)
    for _ in range(copies):
        query, key, value, grad = drawn((batch, heads, heads, length, head_dim), torch.bfloat16, "cuda")
        if kernel == "FlashAttention-2":
            turned = [tensor.transpose(1, 2) for tensor in (query, key, value, grad)]
            made.append(_flash(turned, length, side, backward))
        else:
            made.append(_ours((query, key, value, grad), side, head_dim**-0.5, backward))
    return made


def _ours(tensors: Sequence[Tensor], side: int, scale: float, backward: bool) -> Callable[[], object]:
    operators, (query, key, value, grad) = torch.ops.pyprof, tensors
    options = (side, side, None, scale, 0.0, None, "cuda")
    if not backward:
        return lambda: operators.window_attention(query, key, value, *options)
    output, lse = operators.window_attention(query, key, value, *options)
    return lambda: operators.window_attention_backward(grad, None, query, key, value, output, lse, *options)


def _flash(tensors: Sequence[Tensor], length: int, side: int, backward: bool) -> Callable[[], object]:
    aten, (query, key, value, grad) = torch.ops.aten, tensors
    sides = {"window_size_left": side, "window_size_right": side}

    def forward() -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = aten._flash_attention_forward(
            query, key, value, None, None, length, length, 0.0, False, False, **sides
        )
        return found

    if not backward:
        return forward
    output, lse, state, unused = forward()[:4]
    return lambda: aten._flash_attention_backward(
        grad, query, key, value, output, lse, None, None, length, length, 0.0, False, state, unused, **sides
    )


def microseconds(made: Sequence[Callable[[], object]], seconds: float) -> float:
    """Of one launch: the median of replays of a CUDA graph with one launch for each copy."""
    for call in made:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in made:
            call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < 1e3 * seconds:
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end))
    return 1e3 * sorted(taken)[len(taken) // 2] / len(made)


def times(seconds: float) -> list[tuple[object, ...]]:
    """A row for each shape and direction: name, direction, us of each of KERNELS, the prototype's."""
    rows: list[tuple[object, ...]] = []
    for shape in SHAPES:
        for backward in (False, True):
            figures = []
            for kernel in KERNELS:
                with kernels(kernel):
                    figures.append(microseconds(calls(shape, kernel, backward), seconds))
                torch.cuda.empty_cache()
            name, direction = ", ".join(map(str, shape[:5])), "backward" if backward else "forward"
            rows.append((name, direction, *figures, float(shape[6 if backward else 5])))
            note(f"{name} {direction}: " + ", ".join(map("{} {:.1f} us".format, KERNELS, figures)))
    return rows


def bars_of(rows: Sequence[Sequence[object]]) -> list[Bar]:
    """Faster than FlashAttention-2, and at most 1.05 times the prototype, in every row."""
    bars = []
    for name, direction, hopper, _, flash, prototype in rows:
        assert isinstance(hopper, float)
        assert isinstance(flash, float)
        assert isinstance(prototype, float)
        bars.append(Bar(f"{name} {direction}, of FlashAttention-2's time", hopper / flash, "", 1.0))
        bars.append(Bar(f"{name} {direction}", hopper, "us", BESIDE_PROTOTYPE * prototype))
    return bars


def sanitize() -> int:
    """The checks of few problems under each tool; returns how many found something."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise SystemExit("there is no compute-sanitizer on the path: it comes with the CUDA toolkit")
    failed = 0
    for tool in TOOLS:
        note(f"{tool} ...")
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, __file__, "--few"]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--seconds", type=float, default=0.3, help="for each figure (default: 0.3)")
    options.add_argument("--few", action="store_true", help="check the smallest problems, once each, and time nothing")
    options.add_argument("--sanitize", action="store_true", help="run --few under compute-sanitizer")
    chosen = options.parse_args()
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0):
        raise SystemExit("there is no device of compute capability 9.0 that this PyTorch can use: run this on a Hopper")
    if chosen.sanitize:
        return 1 if sanitize() else 0
    with kernels("hopper"):
        right, bars = checks("cuda", CASES[:3] if chosen.few else CASES, 0 if chosen.few else RUNS)
    tables = [right]
    if not chosen.few:
        rows = times(chosen.seconds)
        columns = ("batch, heads, length, head_dim, window", "direction", *KERNELS, "prototype")
        tables.append(Figures("Microseconds", columns, rows))
        bars += bars_of(rows)
    return publish(METHOD, tables, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

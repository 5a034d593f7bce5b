"""Hopper's kernels of window attention on a card: right, the same every time, and how fast beside FlashAttention."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import attention_cuda
import torch
from harness import Bar, Figures, note, parser, publish
from torch import Tensor

from pyprof.ops.window_attention import window_attention

METHOD = """\
Right: output and gradients of every problem against dense attention in float64, where eager attention in the same dtype
has the error that is allowed twice, and 20 further runs, whose bits must be those of the first. Problems fill no tile,
share keys, have key lengths, one side, no side, or more than the sequence.

Fast: the rows of bench/attention.py --device cuda, whose help says how they are measured.

--sanitize runs the checks of few problems under compute-sanitizer: memcheck, racecheck, initcheck.
"""
RUNS = 20
TOOLS = ("memcheck", "racecheck", "initcheck")


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
    with attention_cuda.kernels("hopper"):
        right, bars = checks("cuda", CASES[:3] if chosen.few else CASES, 0 if chosen.few else RUNS)
    tables = [right]
    if not chosen.few:
        rows = attention_cuda.measured(chosen.seconds)
        tables.append(attention_cuda.table(rows))
        bars += attention_cuda.bars_of(rows)
    return publish(METHOD, tables, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

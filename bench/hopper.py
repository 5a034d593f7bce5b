"""Hopper's kernels of window attention on a card: right, the same every time, and how fast beside FlashAttention."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence

import attention_cuda
import torch
from harness import Bar, Figures, note, parser, publish

from pyprof.ops.trial_cases import CASES, RUNS, Case, check

METHOD = """\
Right: output and gradients of every problem against dense attention in float64, where eager attention in the same dtype
has the error that is allowed twice, and 20 further runs, whose bits must be those of the first. Problems fill no tile,
share keys, have key lengths, one side, no side, or more than the sequence.

Fast: the rows of bench/attention.py --device cuda, whose help says how they are measured.

--sanitize runs the checks of few problems under compute-sanitizer: memcheck, racecheck, initcheck.
"""
TOOLS = ("memcheck", "racecheck", "initcheck")


def checks(device: str, cases: Sequence[Case], runs: int) -> tuple[Figures, list[Bar]]:
    """Every case in both 16-bit types."""
    rows = []
    for case in cases:
        for dtype in (torch.bfloat16, torch.float16):
            name = f"{case.window}, {case.sizes}, {str(dtype).removeprefix('torch.')}"
            found = check(case, dtype, device, runs)
            note(f"{name}: error {found.error:.2f} of what is allowed, {found.others} of {runs} runs with other bits")
            rows.append((name, found.error, found.others))
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

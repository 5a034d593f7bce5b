"""The fused sliding-window attention against its peers: how near to the limit, and how far from the others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# The OpenMP runtime reads these once, when PyTorch loads it: each of its threads stays on a processor of its own.
os.environ["OMP_PROC_BIND"] = os.environ.get("OMP_PROC_BIND", "true")
os.environ["OMP_PLACES"] = os.environ.get("OMP_PLACES", "threads")

import attention_cuda
import torch
from harness import Bar, Figures, note, parser, publish

from pyprof.attention import Problem, ProblemResult, RoundLimits, Row
from pyprof.attention.check import TOLERANCE, Standard
from pyprof.attention.kernel import run
from pyprof.attention.measure import backward_call, forward_call, measure
from pyprof.attention.peers import find
from pyprof.attention.problem import DTYPES, Inputs, make_inputs
from pyprof.ops.window_attention import cpu_isa, window_attention
from pyprof.timing.interleave import interleave

METHOD = """\
Each row is batch x 12 heads x length x 64 with as many neighbours on each side. In every round there is one call of
each implementation and of a 1024 x 1024 matrix product in the same dtype ("sgemm"), in random order, in one process,
each OpenMP thread bound to a processor. Shares and ratios are medians over the rounds, which pair the two calls; times
are medians. The share is useful operations a second (scores outside of the window count nothing, the five products of
the backward count) by the matrix product's rate. The backward is timed without its forward.

SDPA gets its mask ready-made, in the dtype that it adds. FlexAttention is compiled for the very shape and gets its
block mask ready-made; the best of its block sizes 16, 32, 64, 128 counts. It has no backward on the host.

Memory: in a process of its own, the rise of the highest resident memory during one call beyond what it returns, so that
memory which PyTorch's allocator knows nothing of is seen too; the system counts pages, with an error of some 100 KiB.
Accuracy: the largest error of any element against dense attention in float64, beside that of eager attention in the
same dtype, on unit-normal inputs and on ones whose scores have a deviation of 36.
"""
# Batch, length, neighbours on each side; then what is promised: forward of sgemm, against the best FlexAttention,
# against SDPA with a mask, backward of sgemm, backward against SDPA with a mask.
ROWS = (
    (1, 512, 16, 0.40, 2.5, 9, 0.45, 10),
    (1, 2500, 16, 0.42, 2.0, 30, 0.45, 30),
    (1, 2500, 50, 0.66, 2.5, 20, 0.70, 18),
    (8, 500, 50, 0.68, 2.4, 5, 0.70, 5),
    (1, 2560, 128, 0.90, 2.0, 10, 0.95, 11),
    (1, 4096, 256, 1.0, 2.0, 10, 1.0, 10),
)
HALF_OVER_FLOAT32 = 1.4
HALVES = ("bfloat16", "float16")
EXTRA_MIB = 1.0
MOST_ROUNDS = 5000
MODES = ("forward", "backward")
PEERS = {"forward": ("flex", "sdpa", "chunks"), "backward": ("sdpa", "chunks")}
WORDS = {"flex": "best FlexAttention", "sdpa": "SDPA with a mask"}
Promises = Sequence[float]


def problem_of(row: Promises, dtype: str = "float32") -> Problem:
    batch, length, window = (int(value) for value in row[:3])
    return Problem(length, (window, window), batch, dtype=dtype)


def name_of(problem: Problem) -> str:
    return f"{problem.batch}, {problem.length}, {problem.window[0]}"


def against_peers(row: Promises, mode: str, seconds: float) -> tuple[ProblemResult, list[Bar]]:
    """A problem in float32, and what was promised of it; a peer that gave no figure has no bar, and is noted."""
    problem = problem_of(row)
    result = measure(
        problem,
        mode,
        [find(name) for name in ("auto", *PEERS[mode])],
        RoundLimits(seconds, MOST_ROUNDS),
        tolerance=TOLERANCE,
    )
    share, *times = row[3:6] if mode == "forward" else row[6:8]
    own = own_row(result)
    assert own.of_limit is not None
    bars = [Bar(f"{name_of(problem)}: {mode}, of sgemm", own.of_limit.value, "share", share, "higher")]
    for peer, promised in zip(PEERS[mode], times, strict=False):
        found = result.row(peer)
        if found is None or found.against is None:
            note(f"{peer} gave no figure: {found.reason if found else 'no row'}")
            continue
        name = f"{name_of(problem)}: {mode}, against {WORDS[peer]}"
        bars.append(Bar(name, found.against.value, "x", promised, "higher"))
    return result, bars


def own_row(result: ProblemResult) -> Row:
    """The operator's own row; without its figures there is nothing to publish."""
    row = result.row("cpu")
    if row is None or row.seconds is None or row.of_limit is None:
        raise SystemExit(
            f"the operator gave no figure ({result.problem}, {result.mode}): {row.reason if row else 'no row'}"
        )
    return row


def peers_table(mode: str, results: Sequence[ProblemResult]) -> Figures:
    peers = [f"{peer}, {what}" for peer in PEERS[mode] for what in ("ms", "x cpu")]
    columns = ("batch, length, window", "rounds", "sgemm, GFLOP/s", "cpu, ms", "from", "to", "of sgemm", *peers)
    rows = []
    for one in results:
        own = own_row(one)
        times = (own.seconds.value, own.seconds.low, own.seconds.high)
        head = (name_of(one.problem), one.rounds, one.limit.value / 1e9)
        beside = [figure for peer in PEERS[mode] for figure in peer_figures(one.row(peer))]
        rows.append((*head, *(value and value * 1e3 for value in times), own.of_limit.value, *beside))
    return Figures(f"{mode}, float32", columns, rows)


def peer_figures(row: Row | None) -> tuple[float | None, float | None]:
    """Its time in ms, and by how much that is the operator's."""
    if row is None or row.seconds is None or row.against is None:
        return None, None
    return row.seconds.value * 1e3, row.against.value


def half_precision(rows: Sequence[Promises], seconds: float) -> tuple[Figures, list[Bar]]:
    """The same problem in float32 and in 16 bits, in the same rounds; bfloat16's bar is for processors that have it."""
    found, bars = [], []
    for row in rows:
        for mode in MODES:
            name = f"{name_of(problem_of(row))}: {mode}"
            note(f"16 bits over float32: {name} ...")
            calls = {}
            for dtype in ("float32", *HALVES):
                inputs = make_inputs(problem_of(row, dtype))
                calls[dtype] = (backward_call if mode == "backward" else forward_call)(operator(inputs), inputs)
            taken = interleave(calls, RoundLimits(seconds, MOST_ROUNDS))
            for dtype in HALVES:
                isa = cpu_isa(getattr(torch, dtype))
                ratio = taken.ratio("float32", dtype)
                times = [taken.seconds(one).value * 1e3 for one in ("float32", dtype)]
                found.append((name, f"{dtype} ({isa})", *times, ratio.value, ratio.low, ratio.high))
                if dtype == "float16" or isa in ("avx512_bf16", "amx"):
                    bars.append(Bar(f"{name}, {dtype} over float32", ratio.value, "x", HALF_OVER_FLOAT32, "higher"))
    columns = ("batch, length, window: mode", "dtype", "float32, ms", "16 bits, ms", "x", "from", "to")
    return Figures("16 bits over float32", columns, found), bars


def operator(inputs: Inputs):
    window = inputs.problem.window
    return lambda query, key, value: window_attention(query, key, value, window=window)


def memory(rows: Sequence[Promises], threads: int) -> tuple[Figures, list[Bar]]:
    found, bars = [], []
    for row in rows:
        for mode in MODES:
            script = Path(__file__).with_name("resident.py")
            command = [sys.executable, script, *(str(int(value)) for value in row[:3]), mode, "--threads", str(threads)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            mebibytes = int(done.stdout) / 2**20
            problem = problem_of(row)
            found.append((name_of(problem), mode, mebibytes, problem.tensor_bytes / 2**20))
            bars.append(
                Bar(f"{name_of(problem)}: {mode}, extra memory", mebibytes / threads, "MiB a thread", EXTRA_MIB)
            )
    columns = ("batch, length, window", "mode", "extra, MiB", "(output, MiB)")
    return Figures("memory beyond inputs and results", columns, found), bars


def accuracy() -> tuple[Figures, list[Bar]]:
    found, bars = [], []
    for dtype in DTYPES:
        worst = 0.0
        for kind in ("unit-normal", "large scores"):
            inputs = make_inputs(Problem(512, (16, 16), dtype=dtype), large=kind == "large scores")
            results = run(lambda given: operator(given)(given.query, given.key, given.value), inputs, backward=True)
            if isinstance(results, str):
                raise SystemExit(results)
            standard = Standard.of(inputs)
            for name, tensor in results.items():
                one = standard.judge({name: tensor})
                worst = max(worst, TOLERANCE * one.error / one.allowed)
                found.append((dtype, kind, name, one.error, one.eager, one.error / one.eager))
        bars.append(Bar(f"{dtype}: largest error against that of eager", worst, "x", TOLERANCE))
    columns = ("dtype", "inputs", "tensor", "largest error", "of eager", "x eager")
    return Figures("accuracy, batch 1, length 512, window 16", columns, found), bars


def main() -> int:
    options = parser(f"{METHOD}\nWith --device cuda:\n\n{attention_cuda.METHOD}")
    options.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    options.add_argument("--seconds", type=float, help="for each row and mode (default: 20), or figure of cuda (0.3)")
    options.add_argument("--rows", default="1,2,3,4,5,6", help="which of the promised rows (default: 1,2,3,4,5,6)")
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    chosen = options.parse_args()
    if chosen.device == "cuda":
        return attention_cuda.run(0.3 if chosen.seconds is None else chosen.seconds, chosen.json)
    seconds = 20.0 if chosen.seconds is None else chosen.seconds
    torch.set_num_threads(chosen.threads)
    rows = [ROWS[int(number) - 1] for number in chosen.rows.split(",")]
    tables: list[Figures] = []
    bars: list[Bar] = []
    for mode in MODES:
        results = []
        for row in rows:
            note(f"{name_of(problem_of(row))}, {mode} ...")
            result, reached = against_peers(row, mode, seconds)
            results.append(result)
            bars += reached
        tables.append(peers_table(mode, results))
    for part in (half_precision(rows, seconds / 4), memory(rows, chosen.threads), accuracy()):
        tables.append(part[0])
        bars += part[1]
    return publish(METHOD, tables, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

"""What global keys and Longformer's global tokens cost beside the plain sliding window."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

# As in attention.py: the OpenMP runtime reads these once, when PyTorch loads it.
os.environ["OMP_PROC_BIND"] = os.environ.get("OMP_PROC_BIND", "true")
os.environ["OMP_PLACES"] = os.environ.get("OMP_PLACES", "threads")

import torch
from harness import Bar, Figures, note, parser, publish
from torch import Tensor

from pyprof.attention import Problem, RoundLimits
from pyprof.attention.problem import Inputs, make_inputs
from pyprof.ops.global_attention import global_attention
from pyprof.ops.window_attention import window_attention
from pyprof.timing.interleave import interleave

METHOD = """\
One sequence of 4,096 tokens with 12 heads of 64 and a window of 256 neighbours on each side. "global keys" has the
window and so many of the first keys, which every later query sees too. "Longformer" has global rows as well: its first
queries see everything, with queries, keys and values of their own, and their results take the place of the window's.
In every round there is one call of each, in random order; ratios are to the plain window, paired by round. The backward
is timed without its forward.
"""
COUNTS = (1, 2, 4)
MOST = 1.25
MOST_ROUNDS = 1000
Attend = Callable[[list[Tensor]], Tensor]


def kinds(problem: Problem) -> dict[str, tuple[Attend, int]]:
    """What is called, and how many global rows it is given."""

    def of_window(count: int) -> Attend:
        return lambda given: window_attention(*given[:3], problem.window, global_keys=count)

    def longformer(given: list[Tensor]) -> Tensor:
        query, key, value, rows, keys, values = given
        return global_attention(query, key, value, rows, keys, values, problem.window)

    found: dict[str, tuple[Attend, int]] = {"window": (of_window(0), 0)}
    for count in COUNTS:
        found[f"{count} global keys"] = of_window(count), 0
        found[f"Longformer, {count}"] = longformer, count
    return found


def call(kind: tuple[Attend, int], inputs: Inputs, others: Inputs, backward: bool) -> Callable[[], object]:
    attend, rows = kind
    own = [others.query[:, :, :rows].contiguous(), others.key, others.value] if rows else []
    tensors = [inputs.query, inputs.key, inputs.value, *own]
    if not backward:
        return lambda: attend(tensors)
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = attend(leaves)
    return lambda: torch.autograd.grad(output, leaves, inputs.grad_output, retain_graph=True)


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--seconds", type=float, default=20.0, help="rounds for each dtype and mode (default: 20)")
    options.add_argument("--dtypes", default="float32,bfloat16", help="default: float32,bfloat16")
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    rows, bars = [], []
    for dtype in chosen.dtypes.split(","):
        problem = Problem(4096, (256, 256), dtype=dtype)
        inputs, others = make_inputs(problem), make_inputs(problem, seed=1)
        for mode in ("forward", "backward"):
            note(f"{dtype}, {mode} ...")
            with torch.set_grad_enabled(mode == "backward"):
                calls = {name: call(kind, inputs, others, mode == "backward") for name, kind in kinds(problem).items()}
                taken = interleave(calls, RoundLimits(chosen.seconds, MOST_ROUNDS))
            for name in calls:
                ratio = taken.ratio(name, "window")
                rows.append((dtype, mode, name, taken.seconds(name).value * 1e3, ratio.value, ratio.low, ratio.high))
                if name != "window":
                    bars.append(Bar(f"{dtype}, {mode}: {name}", ratio.value, "x", MOST))
    columns = ("dtype", "mode", "what", "ms", "x window", "from", "to")
    return publish(METHOD, [Figures("beside the plain window", columns, rows)], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

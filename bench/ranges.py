"""What an NVTX range costs while no tool is attached, beside the range of Python's package nvtx."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from harness import Bar, Figures, parser, publish
from torch import nn

from pyprof.layers.instrument import instrument
from pyprof.overhead.empty_module import CALLS, Caller, Nothing
from pyprof.statistics.estimate import estimate_median

METHOD = """\
A module whose forward returns its argument is called 200 times by a module around it: as it is, with pyprof's probes,
with probes that open NVTX ranges too, and with `nvtx.annotate` (pip install nvtx) around the forward's body. No tool is
attached. Every round takes all four in random order, with probes attached anew, each as the shortest of five; the cost
of a range is the difference to the same round's calls without, and stands as the median of the rounds with its 95 %
interval. Each of them opens one range a call.
"""
ROUNDS, TRIES = 400, 5
PLAIN, PROBE, RANGES, ANNOTATE = "no profiler", "pyprof probe", "pyprof probe with NVTX", "nvtx.annotate"


class Annotated(Nothing):
    def __init__(self, annotate: Callable[..., object]) -> None:
        super().__init__()
        self.range = annotate

    def forward(self, value: object) -> object:
        with self.range("layer", domain="python"):
            return value


def ways() -> dict[str, tuple[nn.Module, Callable[[nn.Module], AbstractContextManager[object]]]]:
    from nvtx import annotate

    # Probes are attached anew in every round: where their memory happens to lie makes some nanoseconds.
    caller = Caller(Nothing())
    return {
        PLAIN: (Caller(Nothing()), nullcontext),
        PROBE: (caller, partial(instrument, nvtx=False)),
        RANGES: (caller, partial(instrument, nvtx=True)),
        ANNOTATE: (Caller(Annotated(annotate)), nullcontext),
    }


def per_call(caller: nn.Module, value: torch.Tensor) -> float:
    def once() -> int:
        begin = time.perf_counter_ns()
        caller(value)
        return time.perf_counter_ns() - begin

    return min(once() for _ in range(TRIES)) / CALLS


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    chosen = options.parse_args()
    value, order = torch.zeros(1), random.Random(0)
    called = ways()
    taken: dict[str, list[float]] = {name: [] for name in called}
    with torch.inference_mode():
        for _ in range(chosen.rounds):
            for name in order.sample(list(called), len(called)):
                caller, attached = called[name]
                with attached(caller):
                    taken[name].append(per_call(caller, value))
    columns = ("what", "against", "added a call, ns", "from, ns", "to, ns", "rounds")
    rows, added = [], {}
    for name, base in ((PROBE, PLAIN), (RANGES, PROBE), (ANNOTATE, PLAIN)):
        cost = estimate_median([after - before for after, before in zip(taken[name], taken[base], strict=True)])
        added[name] = cost
        rows.append((name, base, cost.value, cost.low, cost.high, chosen.rounds))
    ours, theirs = added[RANGES], added[ANNOTATE]
    most = max(ours.high if ours.high is not None else ours.value, 0.1)  # a range costs something
    bars = [
        Bar("an NVTX range, no tool attached (upper end)", most, "ns", 5),
        Bar(
            "nvtx.annotate against it (lower end against upper end)",
            (theirs.low or theirs.value) / most,
            "x",
            50,
            "higher",
        ),
    ]
    return publish(METHOD, [Figures("what a range adds to a call", columns, rows)], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

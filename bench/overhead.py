"""Profiling overhead: of one probe on a module that does nothing, and of all probes on the steps of real models."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import torch
from harness import Bar, Figures, note, parser, publish
from torch import nn

from pyprof.failures import Failure
from pyprof.layers.instrument import Probes, instrument
from pyprof.models import registry
from pyprof.overhead.empty_module import Caller, Nothing, Recording, added_per_call
from pyprof.overhead.probes import PYPROF
from pyprof.overhead.slowdown import UNPROFILED, ToolSwitch, slowdowns
from pyprof.overhead.tool import Tool
from pyprof.overhead.tools import TOOLS, missing
from pyprof.statistics.estimate import CONFIDENCE, Estimate
from pyprof.statistics.sequential import AlphaSpending
from pyprof.timing.clock import Call, HostStopwatch, MonotonicClock, Stopwatch
from pyprof.timing.interleave import Interleaved, RoundLimits, exponential
from pyprof.timing.ratio_looks import RatioLooks
from pyprof.worker.profile_model import profile_model, step_of

METHOD = """\
Part 1: a module whose forward returns its argument is called 200 times by a module around it, instrumented in each way
and without a profiler, in random order, 300 rounds in one process. Neighbours change this machine's speed up to twofold
within seconds, so the overhead is taken relative to the plain calls of the same round; the median of these shares,
times the least plain call, is what is added to a call at the machine's undisturbed speed. The plain median of what is
added stands beside it.

Part 2: steps of the seven models at base size (weights random, best attention), with all probes attached and without a
profiler, in pairs of random order; attaching lies outside of what is timed, the step's mark and handing over what was
recorded inside. The inputs are short ones: profiling overhead hardly depends on the length, so that it weighs most
there, and a short step gives more pairs a second. Slowdown: the Hodges-Lehmann estimate of the pairs' ratios less 1,
with the 95 % interval of the signed-rank test. Pairs are taken until its upper end is below the bar, or the time is up;
each look at the interval is paid for out of the 5 % in proportion to the time that has passed, so that looking early
does not make the interval less sure. Beside it what a profile of the same step states of its own overhead, from rounds
of its own; the two may differ by no more than their intervals, added as independent errors are. The peers follow in
rounds of their own, a step with each and one without any; with fewer than six rounds there is no interval. With --clock
cpu the process's own time on a processor is taken, of all its threads, instead of the time on the wall: probes never
wait, so that nothing of what they add is lost, and what the scheduler gives to other processes is left out, which on a
busy machine is most of the noise.
"""
ROUNDS, ROUNDS_SECONDS = 300, 60.0
BAR = 1.0  # percent, of the slowdown's upper end
FIRST_LOOK = 1 / 16  # of the time, from which on the interval is looked at
# Tokens, or pixels of a side. Longformer works on 512 tokens whatever it gets, its attention's window.
SHORT = {"bert": 16, "longformer": 16, "nystromformer": 16, "hubert": 10, "l-hubert": 10, "vit": 32, "swin": 32}
STEP_COLUMNS = (
    "model",
    "mode",
    "tool",
    "step, ms",
    "layer calls",
    "pairs",
    "step slower, %",
    "from, %",
    "to, %",
    "a profile states, %",
    "from, %",
    "to, %",
    "remark",
)
Instrument = Callable[[nn.Module], AbstractContextManager[object]]


class Recorded(Nothing):
    def forward(self, value: object) -> object:
        with torch.profiler.record_function("layer"):
            return value


@contextmanager
def python_hooks(module: nn.Module) -> Iterator[None]:
    before = module.register_forward_pre_hook(lambda *_: None)
    after = module.register_forward_hook(lambda *_: None)
    try:
        yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def backward_hook(module: nn.Module) -> Iterator[None]:
    handle = module.register_full_backward_hook(lambda *_: None)
    try:
        yield
    finally:
        handle.remove()


def native(module: nn.Module) -> Probes:
    return instrument(module)


def native_backward(module: nn.Module) -> Probes:
    return instrument(module, backward=True)


def twin(module: nn.Module) -> Probes:
    return instrument(module, recorder="python")


INSTRUMENTS: dict[str, tuple[type[Nothing], Instrument]] = {
    "pyprof probe": (Nothing, native),
    "pyprof probe, backward too": (Nothing, native_backward),
    "pyprof's twin in Python": (Nothing, twin),
    "Python pre-hook and hook": (Nothing, python_hooks),
    "record_function": (Recorded, lambda _: nullcontext()),
    "full backward hook": (Nothing, backward_hook),
}
OURS = (native, native_backward, twin)  # they instrument the caller as well, and have marked steps


def one_probe() -> tuple[list[tuple[object, ...]], list[Bar]]:
    value = torch.zeros(1, requires_grad=True)
    instrumented: dict[str, tuple[Caller, Recording]] = {}
    with ExitStack() as stack:
        for name, (kind, instrument_with) in INSTRUMENTS.items():
            caller = Caller(kind())
            attached = stack.enter_context(instrument_with(caller if instrument_with in OURS else caller.callee))
            instrumented[name] = caller, attached.step if isinstance(attached, Probes) else nullcontext
        plain, added = added_per_call(
            Caller(Nothing()), instrumented, value, seconds=ROUNDS_SECONDS, most_rounds=ROUNDS
        )
    costs = {}
    for name, cost in added.items():
        if isinstance(cost, Failure):
            raise RuntimeError(f"{name}: {cost.reason}")
        costs[name] = cost
    ours = costs["pyprof probe"].undisturbed
    rows = [
        (name, cost.undisturbed, cost.median, 100 * cost.share, cost.undisturbed / ours, cost.rounds)
        for name, cost in costs.items()
    ]
    hooks, recorded = (costs[name].undisturbed / ours for name in ("Python pre-hook and hook", "record_function"))
    return [("(the call itself)", plain, None, None, None, None), *rows], [
        Bar("one probe on a no-op module", ours, "ns a call", 100),
        Bar("Python pre-hook and hook against a probe", hooks, "x", 15, "higher"),
        Bar("record_function against a probe", recorded, "x", 50, "higher"),
    ]


def below_the_bar(logarithm: Estimate) -> bool:
    """Whether the upper end of the slowdown, whose ratio's logarithm this is, is below the bar."""
    high = exponential(logarithm).high
    return high is not None and 100 * (high - 1) < BAR


class CpuStopwatch:
    """Times by what this process got of the processors; budgets are kept by the time on the wall."""

    def __init__(self) -> None:
        self.clock = MonotonicClock()
        self.resolution_ns = 1000

    def time(self, fn: Call, repeats: int) -> int:
        begin = time.process_time_ns()
        for _ in repeat(None, repeats):
            fn()
        return time.process_time_ns() - begin


@dataclass(frozen=True)
class Times:
    """Seconds for our probes, for a profile and for the peers, and what times the steps from outside."""

    ours: float
    profile: float
    peers: float
    stopwatch: Stopwatch


def on_model(model: str, mode: str, times: Times) -> Iterator[tuple[tuple[object, ...], list[Bar]]]:
    """Rows of our probes and of the peers on one model, and the bars of ours."""
    length = SHORT[model]
    loaded = registry.load(model, attention="best", mode=mode, longest=length)
    loaded.fit(length)
    switch = ToolSwitch(loaded.step, step_of(loaded, length, 1), backward=mode == "train")
    limits = RoundLimits(times.ours, most_rounds=10_000, seed=None, fewest_rounds=10, warmup_seconds=times.ours / 50)
    spending = AlphaSpending(CONFIDENCE, FIRST_LOOK)
    rule = RatioLooks("below the bar", PYPROF.name, UNPROFILED, limits, spending, below_the_bar)
    rounds = slowdowns(switch, [PYPROF], limits, stopwatch=times.stopwatch, rules=(rule,))
    if PYPROF.name in rounds.failures:
        raise RuntimeError(rounds.failures[PYPROF.name].reason)
    ratio = exponential(rule.final(rounds))
    profile = profile_model(loaded, length, 1, times.profile)
    stated = profile.plain.ratio if profile.plain else None
    row = _row(model, mode, PYPROF.name, rounds, ratio, (profile.calls // profile.steps, stated))
    # Too few pairs for an interval show nothing, not even that a step does not take twice as long.
    upper = 100.0 if ratio.high is None else 100 * (ratio.high - 1)
    yield (
        row,
        [
            Bar(f"{model} {mode}: upper end of the slowdown with all probes", upper, "%", BAR),
            Bar(f"{model} {mode}: a profile's own statement against it", apart(stated, ratio), "of the intervals", 1.0),
        ],
    )
    if times.peers > 0:
        peers = [tool for tool in TOOLS if tool is not PYPROF]
        yield from ((row, []) for row in beside(model, mode, switch, peers, times))


def apart(stated: Estimate | None, outside: Estimate) -> float:
    """How far two ratios lie apart, in half-widths of the difference's interval; infinite without intervals."""
    if stated is None or stated.interval is None or outside.interval is None:
        return math.inf
    halves = [math.log(ratio.interval[1] / ratio.interval[0]) / 2 for ratio in (stated, outside) if ratio.interval]
    return abs(math.log(stated.value / outside.value)) / math.hypot(*halves)


def beside(
    model: str, mode: str, switch: ToolSwitch, peers: Sequence[Tool], times: Times
) -> Iterator[tuple[object, ...]]:
    """Rows of the peers on one model."""
    absent = {tool.name: failure.reason for tool in peers if (failure := missing(tool)) is not None}
    present = [tool for tool in peers if tool.name not in absent]
    limits = RoundLimits(times.peers, fewest_rounds=3, seed=None, warmup_seconds=times.peers / 100)
    rounds = slowdowns(switch, present, limits, stopwatch=times.stopwatch)
    reasons = absent | {name: failure.reason for name, failure in rounds.failures.items()}
    for tool in peers:
        if tool.name in rounds.samples:
            yield _row(model, mode, tool.name, rounds, rounds.ratio(tool.name, UNPROFILED), (None, None))
        else:
            yield (model, mode, tool.name, *[None] * 9, reasons[tool.name])


def _row(
    model: str,
    mode: str,
    tool: str,
    rounds: Interleaved,
    ratio: Estimate,
    profile: tuple[float | None, Estimate | None],
) -> tuple[object, ...]:
    calls, stated = profile
    percent, of_profile = _percent(ratio), _percent(stated) if stated else [None] * 3
    step = 1e3 * rounds.seconds(UNPROFILED).value
    return (model, mode, tool, step, calls, rounds.count, *percent, *of_profile, rounds.stopped_by)


def _percent(ratio: Estimate) -> list[float | None]:
    return [None if value is None else 100 * (value - 1) for value in (ratio.value, ratio.low, ratio.high)]


def main() -> int:
    options = parser(METHOD)
    options.add_argument(
        "--seconds", type=float, default=90.0, help="time for our probes on each model and mode at most (default: 90)"
    )
    options.add_argument(
        "--peer-seconds", type=float, default=30.0, help="time for the peers; 0 leaves them out (default: 30)"
    )
    options.add_argument(
        "--profile-seconds", type=float, default=30.0, help="time for a profile of each model and mode (default: 30)"
    )
    options.add_argument("--threads", type=int, default=1, help="threads of PyTorch in part 2 (default: 1)")
    options.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what times part 2 (default: wall)")
    options.add_argument("--models", default=",".join(SHORT), help="a,b,c; empty for part 1 alone")
    options.add_argument("--modes", default="infer,train")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    rows, bars = one_probe()
    columns = ("instrumented by", "added a call, ns", "median, ns", "share of the call, %", "times a probe", "rounds")
    tables = [Figures("one probe", columns, rows)]
    steps = []
    stopwatch = CpuStopwatch() if chosen.clock == "cpu" else HostStopwatch()
    measured = partial(on_model, times=Times(chosen.seconds, chosen.profile_seconds, chosen.peer_seconds, stopwatch))
    for model in filter(None, chosen.models.split(",")):
        for mode in chosen.modes.split(","):
            for row, its_bars in measured(model, mode):
                note(" ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row))
                steps.append(row)
                bars += its_bars
    if steps:
        tables.append(Figures("all probes, and the peers", STEP_COLUMNS, steps))
    return publish(METHOD, tables, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

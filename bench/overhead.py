"""What looking costs: one probe on a module that does nothing, and all probes on the steps of real models."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import repeat
from statistics import median

import torch
from harness import TYPICAL, Bar, Figures, note, parser, publish
from torch import nn

from pyprof.layers.instrument import Probes, instrument
from pyprof.measure.statistics import estimate_median
from pyprof.models import registry

METHOD = """\
Part 1: a module whose forward returns its argument is called 200 times by a module around it, with each way of looking
and without, in random order, 300 rounds in one process. Neighbours change this machine's speed up to twofold within
seconds, so what a way adds is taken relative to the plain calls of the same round; the median of these shares, times
the least plain call, is the added cost at the machine's undisturbed speed. The plain median of what is added stands
beside it.

Part 2: steps of the seven models at base size (weights random, best attention), with all probes attached and without,
in pairs of random order; attaching lies outside of what is timed. Slowdown: the median of the pairs' ratios less 1,
with its 95 % interval (order statistics). Beside it the share of a step that the probes take by their calibrated cost
per call and per backward node, the machine's noise left out.
"""
CALLS, ROUNDS = 200, 300
STEP_COLUMNS = (
    "model",
    "mode",
    "length",
    "step, ms",
    "layer calls",
    "pairs",
    "slower by, %",
    "from, %",
    "to, %",
    "share by calibration, %",
)
Looking = Callable[[nn.Module], AbstractContextManager[object]]


class Caller(nn.Module):
    """Calls another module some times, as the modules of a model are called by one around them."""

    def __init__(self, callee: nn.Module) -> None:
        super().__init__()
        self.callee = callee

    def forward(self, value: object) -> None:
        callee = self.callee
        for _ in repeat(None, CALLS):
            callee(value)


class Nothing(nn.Module):
    def forward(self, value: object) -> object:
        return value


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


WAYS: dict[str, tuple[type[nn.Module], Looking]] = {
    "nothing": (Nothing, lambda _: nullcontext()),
    "pyprof probe": (Nothing, native),
    "pyprof probe, backward too": (Nothing, native_backward),
    "pyprof's twin in Python": (Nothing, twin),
    "Python pre-hook and hook": (Nothing, python_hooks),
    "record_function": (Recorded, lambda _: nullcontext()),
    "full backward hook": (Nothing, backward_hook),
}
OURS = (native, native_backward, twin)  # they look at the caller as well, and have marked steps


def per_call(caller: nn.Module, value: torch.Tensor) -> float:
    begin = time.perf_counter_ns()
    caller(value)
    return (time.perf_counter_ns() - begin) / CALLS


def one_probe() -> tuple[list[tuple[object, ...]], list[Bar]]:
    value = torch.zeros(1, requires_grad=True)
    callers = {name: Caller(kind()) for name, (kind, _) in WAYS.items()}
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    looks: dict[str, object] = {}
    with ExitStack() as stack:
        for name, (_, looking) in WAYS.items():
            caller = callers[name]
            looks[name] = stack.enter_context(looking(caller if looking in OURS else caller.callee))
        for _ in range(ROUNDS):
            for name in random.sample(list(WAYS), len(WAYS)):
                look = looks[name]
                with look.step() if isinstance(look, Probes) else nullcontext():
                    times[name].append(per_call(callers[name], value))
    plain = times.pop("nothing")
    added = {name: [one - other for one, other in zip(taken, plain, strict=True)] for name, taken in times.items()}
    share = {
        name: median(cost / call for cost, call in zip(costs, plain, strict=True)) for name, costs in added.items()
    }
    undisturbed = {name: value * min(plain) for name, value in share.items()}
    ours = undisturbed["pyprof probe"]
    rows = [
        (name, undisturbed[name], median(added[name]), 100 * share[name], undisturbed[name] / ours) for name in times
    ]
    return [("(the call itself)", min(plain), median(plain), None, None), *rows], [
        Bar("one probe on a no-op module", ours, "ns a call", 100),
        Bar(
            "Python pre-hook and hook against a probe",
            undisturbed["Python pre-hook and hook"] / ours,
            "x",
            15,
            "higher",
        ),
        Bar("record_function against a probe", undisturbed["record_function"] / ours, "x", 50, "higher"),
    ]


def step_of(model: str, mode: str) -> tuple[nn.Module, Callable[[], None]]:
    loaded = registry.load(model, attention="best", mode=mode, longest=TYPICAL[model])
    loaded.fit(TYPICAL[model])
    args, kwargs = loaded.inputs(TYPICAL[model], 1)

    def step() -> None:
        if mode == "train":
            loaded.step.zero_grad(set_to_none=True)
            loaded.step(*args, **kwargs).backward()
        else:
            with torch.inference_mode():
                loaded.step(*args, **kwargs)

    return loaded.step, step


def all_probes(model: str, mode: str, seconds: float) -> tuple[tuple[object, ...], Bar]:
    module, step = step_of(model, mode)

    def timed() -> float:
        begin = time.perf_counter_ns()
        step()
        return float(time.perf_counter_ns() - begin)

    step()
    ratios, plain = [], []
    begin = time.monotonic()
    while time.monotonic() - begin < seconds or len(ratios) < 12:
        pair = {}
        for looked in random.sample([False, True], 2):
            # Attaching takes some milliseconds, in which threads fall asleep and caches go cold: it comes before both.
            with instrument(module, backward=mode == "train") as probes:
                if looked:
                    with probes.step():
                        pair[looked] = timed()
            if looked:
                profile = probes.profile()
            else:
                pair[looked] = timed()
        ratios.append(pair[True] / pair[False])
        plain.append(pair[False])
    found = estimate_median(ratios)
    low, high = found.interval or (found.value, found.value)
    percent = [100 * (value - 1) for value in (found.value, low, high)]
    share = 100 * profile.probe_seconds / (median(plain) * 1e-9)
    row = (model, mode, TYPICAL[model], median(plain) * 1e-6, profile.calls, len(ratios), *percent, share)
    return row, Bar(f"{model} {mode}: slowdown with all probes", percent[0], "%", 0.5)


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--seconds", type=float, default=40.0, help="time for each model and mode (default: 40)")
    options.add_argument("--threads", type=int, default=1, help="threads of PyTorch in part 2 (default: 1)")
    options.add_argument("--models", default=",".join(TYPICAL), help="a,b,c; empty for part 1 alone")
    options.add_argument("--modes", default="infer,train")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    rows, bars = one_probe()
    tables = [
        Figures(
            "one probe", ("way of looking", "undisturbed, ns", "median, ns", "share of the call, %", "x a probe"), rows
        )
    ]
    steps = []
    for model in filter(None, chosen.models.split(",")):
        for mode in chosen.modes.split(","):
            note(f"{model} {mode} ...")
            row, bar = all_probes(model, mode, chosen.seconds)
            steps.append(row)
            bars.append(bar)
    if steps:
        tables.append(Figures("all probes", STEP_COLUMNS, steps))
    return publish(METHOD, tables, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

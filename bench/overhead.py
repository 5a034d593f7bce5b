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
from harness import Bar, Figures, note, parser, publish
from torch import nn

from pyprof.layers.instrument import instrument
from pyprof.measure.statistics import estimate_median
from pyprof.models import registry

METHOD = """\
Part 1: a module whose forward returns its argument is called 20 times in a row with each way of looking and without, in
random order, 2,000 rounds in one process. Added cost: the least time per call with a way of looking less the least
without, since noise only ever adds; beside it the same for the medians, which hold the machine's present state.

Part 2: steps of the seven models at base size (weights random, best attention), with all probes attached and without,
in pairs of random order. Slowdown: the median of the ratios of the pairs less 1, with its 95 % interval.
Beside it the share of a step that the probes take by their calibrated cost per call, the machine's noise left out.
"""
CALLS, ROUNDS = 20, 2_000
CAPACITY = 2 * CALLS * ROUNDS
TYPICAL = {
    "bert": 128,
    "longformer": 512,
    "nystromformer": 128,
    "hubert": 100,
    "l-hubert": 100,
    "vit": 224,
    "swin": 224,
}
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


@contextmanager
def native(module: nn.Module, backward: bool = False) -> Iterator[None]:
    with instrument(module, backward=backward, capacity=CAPACITY) as probes, probes.step():
        yield


@contextmanager
def twin(module: nn.Module) -> Iterator[None]:
    with instrument(module, recorder="python", capacity=CAPACITY) as probes, probes.step():
        yield


WAYS: dict[str, tuple[type[nn.Module], Looking]] = {
    "nothing": (Nothing, lambda _: nullcontext()),
    "pyprof probe": (Nothing, native),
    "pyprof probe, backward too": (Nothing, lambda module: native(module, True)),
    "pyprof's twin in Python": (Nothing, twin),
    "Python pre-hook and hook": (Nothing, python_hooks),
    "record_function": (Recorded, lambda _: nullcontext()),
    "full backward hook": (Nothing, backward_hook),
}


def per_call(module: nn.Module, value: torch.Tensor) -> float:
    begin = time.perf_counter_ns()
    for _ in repeat(None, CALLS):
        module(value)
    return (time.perf_counter_ns() - begin) / CALLS


def one_probe() -> tuple[list[tuple[object, ...]], list[Bar]]:
    value = torch.zeros(1, requires_grad=True)
    modules = {name: kind() for name, (kind, _) in WAYS.items()}
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    with ExitStack() as stack:
        for name, (_, looking) in WAYS.items():
            stack.enter_context(looking(modules[name]))
        for _ in range(ROUNDS):
            for name in random.sample(list(WAYS), len(WAYS)):
                times[name].append(per_call(modules[name], value))
    plain = times.pop("nothing")
    least = {name: min(taken) - min(plain) for name, taken in times.items()}
    middle = {name: median(taken) - median(plain) for name, taken in times.items()}
    ours = least["pyprof probe"]
    rows = [
        (name, least[name], middle[name], least[name] / ours, middle[name] / middle["pyprof probe"]) for name in times
    ]
    return [("(the call itself)", min(plain), median(plain), None, None), *rows], [
        Bar("one probe on a no-op module", ours, "ns a call", 100),
        Bar("Python pre-hook and hook against a probe", least["Python pre-hook and hook"] / ours, "x", 15, "higher"),
        Bar("record_function against a probe", least["record_function"] / ours, "x", 50, "higher"),
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
            if looked:
                with instrument(module, backward=mode == "train") as probes, probes.step():
                    pair[looked] = timed()
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
    options.add_argument("--models", default=",".join(TYPICAL), help="a,b,c; empty for part 1 alone")
    options.add_argument("--modes", default="infer,train")
    chosen = options.parse_args()
    rows, bars = one_probe()
    tables = [
        Figures(
            "one probe", ("way of looking", "least, ns a call", "median, ns a call", "x a probe", "x by median"), rows
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

"""What a tool adds to one call of a module, measured on a module that does nothing."""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from statistics import median

import torch
from torch import nn

from pyprof.failures import Failure, attempt
from pyprof.overhead.tool import HEAP, Attached, Tool

CALLS = 200
FEWEST_ROUNDS = 6
Recording = Callable[[], AbstractContextManager[object]]


class Caller(nn.Module):
    """Calls another module CALLS times, as a model's modules are called by the one around them."""

    def __init__(self, callee: nn.Module) -> None:
        super().__init__()
        self.callee = callee

    def forward(self, value: object) -> object:
        callee = self.callee
        for _ in repeat(None, CALLS):
            callee(value)
        return value


class Nothing(nn.Module):
    """Its forward returns its argument."""

    def forward(self, value: object) -> object:
        return value


@dataclass(frozen=True)
class Added:
    """What a tool adds to one call, in nanoseconds.

    Neighbours change a shared machine's speed up to twofold within seconds. So what is added is taken relative to the
    plain calls of the same round; the median of these shares (`share`), times the shortest plain call, is the cost at
    the machine's undisturbed speed (`undisturbed`). `median` is the plain median of what was added.
    """

    undisturbed: float
    median: float
    share: float
    rounds: int


def added_per_call(
    plain: Caller,
    recorded: Mapping[str, tuple[Caller, Recording]],
    value: torch.Tensor,
    *,
    seconds: float,
    most_rounds: int = 300,
    seed: int = 0,
) -> tuple[float, dict[str, Added | Failure]]:
    """The shortest plain call in nanoseconds, and what each way of recording adds; rounds in random order.

    A recording is entered outside of what is timed. What is slow and has used up its share of the time sits out the
    later rounds.
    """
    costs: dict[str, list[tuple[int, float]]] = {name: [] for name in recorded}
    spent, failed = dict.fromkeys(recorded, 0.0), dict[str, Failure]()
    plain_ns: list[float] = []
    order, begin = random.Random(seed), time.monotonic()
    while len(plain_ns) < most_rounds and (len(plain_ns) < FEWEST_ROUNDS or time.monotonic() - begin < seconds):
        number = len(plain_ns)
        for name in order.sample(["", *recorded], len(recorded) + 1):
            if not name:
                plain_ns.append(_per_call(plain, value))
                continue
            slow = spent[name] > seconds / len(recorded) and len(costs[name]) >= FEWEST_ROUNDS
            if name in failed or slow:
                continue
            before = time.monotonic()
            taken = attempt(partial(_recorded_call, *recorded[name], value))
            spent[name] += time.monotonic() - before
            if isinstance(taken, Failure):
                failed[name] = taken
            else:
                costs[name].append((number, taken))
    least = min(plain_ns)
    return least, {name: failed.get(name) or _added(pairs, plain_ns, least) for name, pairs in costs.items()}


def _added(pairs: Sequence[tuple[int, float]], plain: Sequence[float], least: float) -> Added:
    share = median(taken / plain[number] - 1 for number, taken in pairs)
    return Added(share * least, median(taken - plain[number] for number, taken in pairs), share, len(pairs))


def _recorded_call(caller: Caller, recording: Recording, value: torch.Tensor) -> float:
    with recording():
        return _per_call(caller, value)


def _per_call(caller: Caller, value: torch.Tensor) -> float:
    begin = time.perf_counter_ns()
    caller(value)
    return (time.perf_counter_ns() - begin) / CALLS


def tools_per_call(
    tools: Sequence[Tool], *, backward: bool, seconds: float
) -> tuple[float, dict[str, Added | Failure]]:
    """`added_per_call` for tools, each on a module of its own."""
    value = torch.zeros(1, requires_grad=backward)
    attached: dict[str, tuple[Caller, Attached]] = {}
    failed: dict[str, Failure] = {}
    try:
        for tool in tools:
            caller = Caller(Nothing())
            at_work = attempt(partial(tool.attach, caller, backward))
            if isinstance(at_work, Failure):
                failed[tool.name] = at_work
            else:
                attached[tool.name] = caller, at_work
        with torch.inference_mode(not backward):
            recorded = {name: (caller, at_work.recording) for name, (caller, at_work) in attached.items()}
            least, added = added_per_call(Caller(Nothing()), recorded, value, seconds=seconds)
    finally:
        for _, at_work in reversed(attached.values()):
            at_work.detach()
    return least, {**added, **failed}


def bytes_per_call(tool: Tool) -> float | Failure | None:
    """Bytes that a tool keeps of one recorded call of a module, before anything is read; None where it keeps none."""
    return None if tool.bytes_by is None else attempt(partial(_bytes_per_call, tool))


def _bytes_per_call(tool: Tool) -> float:
    caller, value = Caller(Nothing()), torch.zeros(1)
    attached = tool.attach(caller, False)
    try:
        with torch.inference_mode():
            if tool.bytes_by != HEAP:
                with attached.recording():
                    caller(value)
                return (attached.kept_bytes() or 0) / (CALLS + 1)
            with attached.recording():  # what is made once only
                caller(value)
            return _heap_growth(attached, caller, value) / (CALLS + 1)
    finally:
        attached.detach()


def _heap_growth(attached: Attached, caller: Caller, value: torch.Tensor) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        with attached.recording():
            caller(value)
        gc.collect()
        return max(tracemalloc.get_traced_memory()[0] - before, 0)
    finally:
        tracemalloc.stop()

"""How far a tool's layer times are off from the truth, on a model with planted durations.

The truth of a layer is what was planted in it, as it was noted during the very step that the tool recorded, and what
Python and PyTorch need to call the layers in it. That is known from steps at which nobody looks, between the others:
the median of what the layers took by their own clocks beyond what was planted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Literal

from pyprof.failures import Failure, attempt
from pyprof.overhead.known_model import Model, Truth
from pyprof.overhead.tool import LayerTime, Tool

FEWEST_ROUNDS = 5
Phase = Literal["forward", "own_forward", "backward"]
# What a tool said in one step, and what was planted in it.
Reading = tuple[Mapping[str, LayerTime], Mapping[str, LayerTime]]


@dataclass(frozen=True)
class PhaseError:
    """How far the layers' times of one phase are off from the truth.

    `median` and `worst` are of the layers' relative errors without their signs (`worst_layer` has the worst), where
    each layer's error is its median over the rounds. `call_ns` is what the whole model's time is off by, with its sign,
    shared among the calls of layers; None where the tool gives no time of the whole. `own_ns` is the same for the own
    times of the layers that only call others, None where the tool gives no own times. `seen` of `layers` layers had a
    time at all.
    """

    median: float
    worst: float
    worst_layer: str
    call_ns: float | None
    own_ns: float | None
    seen: int
    layers: int


@dataclass(frozen=True)
class Errors:
    """A tool's errors, forward and backward; None where it gives no times."""

    forward: PhaseError | None
    backward: PhaseError | None
    rounds: int


@dataclass(frozen=True)
class Accuracy:
    """The errors of all tools. `unseen_call_ns` is what Python and PyTorch need for a call of a layer, by the layers'
    own clocks; `calls` the calls in one step.
    """

    tools: Mapping[str, Errors | Failure]
    calls: int
    unseen_call_ns: float


def accuracy(
    tools: Sequence[Tool], *, backward: bool, seconds: float, model: Model | None = None, seed: int = 0
) -> Accuracy:
    """The errors of each tool.

    In rounds of random order every tool is attached, records one step, and is read; and one step runs unseen. A round
    of warm-up comes before.
    """
    truth = Truth(Model() if model is None else model, backward=backward)
    readers: dict[str, Callable[[], Reading | None]] = {
        tool.name: partial(_read, tool, truth, backward) for tool in tools
    }
    readings: dict[str, list[Reading]] = {name: [] for name in readers}
    failed: dict[str, Failure] = {}
    unseen: list[Reading] = []
    order, begin, rounds = random.Random(seed), time.monotonic(), -1
    while rounds < FEWEST_ROUNDS or time.monotonic() - begin < seconds:
        for name in order.sample([*readers, None], len(readers) + 1):
            if name is None:
                truth.step()
                unseen.append((truth.stamped(), truth.planted()))
            elif name not in failed:
                read = attempt(readers[name])
                if isinstance(read, Failure):
                    failed[name] = read
                elif read is not None:
                    readings[name].append(read)
        rounds += 1
        if rounds == 0:  # that was the warm-up
            begin = time.monotonic()
            for some in (unseen, *readings.values()):
                some.clear()
    judge = _Judge(unseen, truth)
    return Accuracy(
        {name: failed.get(name) or judge.errors(found) for name, found in readings.items()},
        truth.calls,
        judge.rest("", "forward") / truth.calls,
    )


def _read(tool: Tool, truth: Truth, backward: bool) -> Reading | None:
    """One step under the eyes of a tool; None where it gives no times."""
    attached = tool.attach(truth.model, backward)
    try:
        with attached.recording():
            truth.step()
        times = attached.layers()
    finally:
        attached.detach()
    return None if times is None else (times, truth.planted())


class _Judge:
    """Holds readings against the truth."""

    def __init__(self, unseen: Sequence[Reading], truth: Truth) -> None:
        self._unseen = unseen
        self._calls = truth.calls
        self._containers = truth.containers
        self._paths = tuple(truth.planted())

    def rest(self, path: str, phase: Phase) -> float:
        """What a layer takes beyond what was planted in it when nobody looks."""
        found = [_time(stamped, path, phase) - _time(planted, path, phase) for stamped, planted in self._unseen]
        return median(found)

    def errors(self, readings: Sequence[Reading]) -> Errors:
        return Errors(self._phase(readings, "forward"), self._phase(readings, "backward"), len(readings))

    def _phase(self, readings: Sequence[Reading], phase: Phase) -> PhaseError | None:
        off = {path: found for path in self._paths if (found := self._off(readings, path, phase))}
        if not off:
            return None
        relative = {path: abs(median(error / true for error, true in found)) for path, found in off.items()}
        worst = max(relative, key=lambda path: relative[path])
        whole = [error for error, _ in off.get("", ())]
        own = [self._off(readings, path, "own_forward") for path in self._containers] if phase == "forward" else []
        owned = [sum(error for error, _ in errors) for errors in zip(*own, strict=True)] if all(own) else []
        return PhaseError(
            median(relative.values()),
            relative[worst],
            worst,
            median(whole) / self._calls if whole else None,
            median(owned) / self._calls if owned else None,
            len(off),
            len(self._paths),
        )

    def _off(self, readings: Sequence[Reading], path: str, phase: Phase) -> list[tuple[float, float]]:
        """The error and the truth of one layer's time in each reading that has it."""
        found = []
        for said, planted in readings:
            value = getattr(said.get(path), phase, None)
            if value is not None:
                true = _time(planted, path, phase) + self.rest(path, phase)
                found.append((value - true, true))
        return found


def _time(times: Mapping[str, LayerTime], path: str, phase: Phase) -> float:
    value: float | None = getattr(times[path], phase)
    assert value is not None
    return value

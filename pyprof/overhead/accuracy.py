"""How far a tool's layer times are off, measured on a model whose layers take a known time.

The true time of a layer is the known time, as it was noted during the very step that the tool recorded, and what
Python and PyTorch need to call the layers in it. The latter is taken from steps without a tool, between the others: the
median of what the layers took by their own clocks beyond the known time.
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
from pyprof.overhead.known_model import KnownModel, KnownSteps
from pyprof.overhead.tool import LayerTime, Tool

FEWEST_ROUNDS = 5
Phase = Literal["forward", "own_forward", "backward"]
# What a tool reports of one step (without a tool: what the layers' own clocks say), and the known times of that step.
Reading = tuple[Mapping[str, LayerTime], Mapping[str, LayerTime]]


@dataclass(frozen=True)
class PhaseError:
    """How far the layers' times of one phase are off from the truth.

    `median` and `worst` are of the layers' relative errors without their signs (`worst_layer` has the worst), where
    each layer's error is its median over the rounds. `call_ns` is what the whole model's time is off by, with its sign,
    divided by the number of calls of layers; None where the tool gives no time of the whole. `own_ns` is the same for
    the own times of the layers that only call others, None where the tool gives no own times. `seen` of `layers` layers
    had a time at all.
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
    """The errors of all tools. `unseen_call_ns` is what Python and PyTorch need for a call of a layer without a tool,
    by the layers' own clocks; `calls` counts the calls in one step.
    """

    tools: Mapping[str, Errors | Failure]
    calls: int
    unseen_call_ns: float


def accuracy(
    tools: Sequence[Tool], *, backward: bool, seconds: float, model: KnownModel | None = None, seed: int = 0
) -> Accuracy:
    """The errors of each tool.

    In rounds of random order every tool is attached, records one step, and is read; and one step runs without a tool.
    A round of warm-up comes before.
    """
    steps = KnownSteps(KnownModel() if model is None else model, backward=backward)
    readers: dict[str, Callable[[], Reading | None]] = {
        tool.name: partial(_read, tool, steps, backward) for tool in tools
    }
    readings: dict[str, list[Reading]] = {name: [] for name in readers}
    failed: dict[str, Failure] = {}
    unseen: list[Reading] = []
    order, begin, rounds = random.Random(seed), time.monotonic(), -1
    while rounds < FEWEST_ROUNDS or time.monotonic() - begin < seconds:
        for name in order.sample([*readers, None], len(readers) + 1):
            if name is None:
                steps.step()
                unseen.append((steps.stamped(), steps.known()))
            elif name not in failed:
                reading = attempt(readers[name])
                if isinstance(reading, Failure):
                    failed[name] = reading
                elif reading is not None:
                    readings[name].append(reading)
        rounds += 1
        if rounds == 0:  # that was the warm-up
            begin = time.monotonic()
            for warmup in (unseen, *readings.values()):
                warmup.clear()
    truth = _Truth(unseen, steps)
    return Accuracy(
        {name: failed.get(name) or truth.errors(taken) for name, taken in readings.items()},
        steps.calls,
        truth.beyond_known("", "forward") / steps.calls,
    )


def _read(tool: Tool, steps: KnownSteps, backward: bool) -> Reading | None:
    """One step that a tool records; None where it gives no times."""
    attached = tool.attach(steps.model, backward)
    try:
        with attached.recording():
            steps.step()
        times = attached.layers()
    finally:
        attached.detach()
    return None if times is None else (times, steps.known())


class _Truth:
    """The layers' true times, which readings are compared with."""

    def __init__(self, unseen: Sequence[Reading], steps: KnownSteps) -> None:
        self._unseen = unseen
        self._calls = steps.calls
        self._containers = steps.containers
        self._paths = tuple(steps.known())

    def beyond_known(self, path: str, phase: Phase) -> float:
        """What a layer takes beyond its known time without a tool, in nanoseconds."""
        return median(_time(stamped, path, phase) - _time(known, path, phase) for stamped, known in self._unseen)

    def errors(self, readings: Sequence[Reading]) -> Errors:
        return Errors(self._phase(readings, "forward"), self._phase(readings, "backward"), len(readings))

    def _phase(self, readings: Sequence[Reading], phase: Phase) -> PhaseError | None:
        errors = {path: pairs for path in self._paths if (pairs := self._errors_of(readings, path, phase))}
        if not errors:
            return None
        relative = {path: abs(median(error / true for error, true in pairs)) for path, pairs in errors.items()}
        worst = max(relative, key=lambda path: relative[path])
        whole = [error for error, _ in errors.get("", ())]
        own = (
            [self._errors_of(readings, path, "own_forward") for path in self._containers] if phase == "forward" else []
        )
        owned = [sum(error for error, _ in pairs) for pairs in zip(*own, strict=True)] if all(own) else []
        return PhaseError(
            median(relative.values()),
            relative[worst],
            worst,
            median(whole) / self._calls if whole else None,
            median(owned) / self._calls if owned else None,
            len(errors),
            len(self._paths),
        )

    def _errors_of(self, readings: Sequence[Reading], path: str, phase: Phase) -> list[tuple[float, float]]:
        """The error and the truth of one layer's time in each reading that has it."""
        pairs = []
        for reported, known in readings:
            value = getattr(reported.get(path), phase, None)
            if value is not None:
                true = _time(known, path, phase) + self.beyond_known(path, phase)
                pairs.append((value - true, true))
        return pairs


def _time(times: Mapping[str, LayerTime], path: str, phase: Phase) -> float:
    value: float | None = getattr(times[path], phase)
    assert value is not None
    return value

"""Workers that sleep in place of measuring: one of this process, for threads, and what a process of its own gives."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Iterator, Sequence

from simulated_machine import make_environment

from pyprof.errors import PyprofError
from pyprof.executors.devices import DevicesExecutor
from pyprof.executors.seats import Seat
from pyprof.records.case import Case
from pyprof.records.environment import Environment
from pyprof.records.executor import Outcome, Ready, group_of
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.records.study import Study

SAMPLES = 6


def figures(cases: Sequence[Case], environment: Environment, seconds: float = 0.0) -> tuple[Outcome, ...]:
    """What measuring a group gives: the same figures whoever measures it, and whenever."""
    return tuple(_outcome(case, group_of(cases), environment, seconds / len(cases)) for case in cases)


def _outcome(case: Case, group: str, environment: Environment, seconds: float) -> Outcome:
    step = 1e-4 * case.length * (1.5 if case.model == "longformer" else 1 + case.length / 2000)
    samples = tuple(round(step * 1e9 * (1 + 0.01 * math.sin(number))) for number in range(SAMPLES))
    latency = Reading(step, step * 0.99, step * 1.01, samples=samples, rounds=Rounds(group))
    record = Record(
        case=case,
        status="ok",
        environment=environment.fingerprint,
        started="2026-01-01T00:00:00+00:00",
        seconds=seconds,
        indicators={"latency": latency},
    )
    return Outcome(record, {"path": ["", "layer"], "own_forward_seconds": [0.0, step]})


class SleepingWorker:
    """A worker of this process: a group takes `seconds`, or what `failing` raises before that.

    `stop`, from another thread, ends what it is at. `groups` is what it was given.
    """

    def __init__(
        self, seconds: float = 0.0, cpu: str = "simulated", failing: Callable[[Sequence[Case]], None] | None = None
    ) -> None:
        self.seconds = seconds
        self.environment = make_environment(cpu)
        self.groups: list[tuple[Case, ...]] = []
        self.closed = 0
        self._failing = failing
        self._stopped = threading.Event()

    def start(self, study: Study) -> Ready:
        settled = dataclasses.replace(study, device="cpu", threads=study.threads or 2, memory_budget=2**30)
        return Ready(settled, self.environment)

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        self.groups.append(tuple(cases))
        if self._failing is not None:
            self._failing(cases)
        if self._stopped.wait(self.seconds):
            raise PyprofError("the worker was stopped")
        return iter(figures(cases, self.environment, self.seconds))

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.closed += 1


def seated(*workers: SleepingWorker) -> DevicesExecutor:
    """An executor of these workers, at seats of their numbers."""
    left = list(workers)
    return DevicesExecutor([Seat(str(number)) for number in range(len(workers))], lambda variables: left.pop(0))

"""What tests of the executors of clusters share: groups that sleep, and waiting for what comes of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from simulated_machine import make_study

from pyprof.records.case import Case
from pyprof.records.executor import Executor, Lost, Measured, Report, Task
from pyprof.records.study import Study

HERE = Path(__file__).parent
WORKER = "sleeping_worker:make"
# What a worker imports beside pyprof: these folders.
PYTHONPATH = os.pathsep.join(map(str, (HERE, HERE.parent, os.environ.get("PYTHONPATH", ""))))


def a_study(**changes: object) -> Study:
    return make_study(**changes)


def a_task(*lengths: int, attempt: int = 1, allowed: float = 60.0, environment: str | None = None) -> Task:
    cases = [Case("bert", length, attention="eager") for length in lengths]
    made = Task.of(cases, 1.0, allowed)
    return Task(made.group, made.cases, attempt=attempt, allowed=allowed, environment=environment)


def reports_until(
    executor: Executor, enough: Callable[[Sequence[Report]], bool], seconds: float = 60.0
) -> list[Report]:
    """What the executor reports until that is enough."""
    deadline, reports = time.monotonic() + seconds, list[Report]()
    while not enough(reports):
        assert time.monotonic() < deadline, f"in {seconds:.0f} s there was only {reports}"
        reports += executor.wait(1.0)
    return reports


def ended(count: int) -> Callable[[Sequence[Report]], bool]:
    """Whether so many tasks have come back, measured or lost."""
    return lambda reports: sum(isinstance(report, Measured | Lost) for report in reports) >= count


def log_of(directory: Path) -> list[tuple[int, str]]:
    """Who began with what: the process, and the lengths of the group."""
    path = directory / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(process), lengths) for process, _, lengths in (line.partition(" ") for line in lines)]

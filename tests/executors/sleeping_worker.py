"""A worker for the jobs and actors of tests: a group sleeps as many milliseconds as its cases are long."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from simulated_machine import Simulated, make_environment
from sleeping_run import PROGRAM

from pyprof.errors import UsageError
from pyprof.records.case import Case
from pyprof.records.executor import Outcome, Ready
from pyprof.records.study import Study
from pyprof.worker.executors import WorkerExecutor

# Lengths at which something else happens: the process ends, or hangs.
DIES, HANGS = 666_001, 666_002
# The files that a test names in these variables: one that is written to at the begin of each group, and one whose
# content is the processor that the machine says to have.
LOG, PROCESSOR = "SLEEPING_BEGINS", "SLEEPING_PROCESSOR"


class Sleeping(Simulated):
    """What it costs is real time here; who measures what is noted in a file."""

    def __init__(self) -> None:
        super().__init__(lambda case: case.length * 1e-3)
        if PROCESSOR in os.environ:
            self.environment = replace(make_environment(), cpu=Path(os.environ[PROCESSOR]).read_text())

    def start(self, study: Study) -> Ready:
        if study.seed == 13:
            raise UsageError("this machine has no such device")
        return super().start(study)

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        if LOG in os.environ:
            with Path(os.environ[LOG]).open("a") as log:
                log.write(f"{os.getpid()} {' '.join(str(case.length) for case in cases)}\n")
        lengths = {case.length for case in cases}
        if DIES in lengths:
            os._exit(3)
        time.sleep(1000.0 if HANGS in lengths else sum(case.length for case in cases) * 1e-3)
        return super().measure_together(cases)


class Dying(Sleeping):
    def start(self, study: Study) -> Ready:
        raise SystemExit("no library of that name")


def make() -> Sleeping:
    return Sleeping()


def dying() -> Dying:
    return Dying()


def with_a_process() -> WorkerExecutor:
    """One whose child process sleeps."""
    return WorkerExecutor(program=PROGRAM)

"""The default: one worker in a process of its own, one group after the other."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pyprof.errors import UsageError
from pyprof.executors.kind import Asked, Kind
from pyprof.records import trainings
from pyprof.records.executor import Advance, Began, Executor, Measured, Outcome, Ready, Report, Task, Worker
from pyprof.records.place import Place
from pyprof.records.study import Study
from pyprof.worker.executors import WorkerExecutor


class OneWorker:
    """An executor of one worker: each outcome is told as soon as it is known, and nothing is measured meanwhile."""

    name = "local"
    keeps: Sequence[str] = ()

    def __init__(self, worker: Worker | None = None) -> None:
        self._worker = WorkerExecutor() if worker is None else worker
        self._place = Place(socket.gethostname(), "cpu")
        self._ready: Ready | None = None
        self._task: Task | None = None
        self._outcomes: Iterator[Outcome | Advance] | None = None
        self._left = 0

    def start(self, study: Study) -> Ready:
        """Start the worker; see ``Executor.start``."""
        self._ready = self._worker.start(study)
        self._place = replace(self._place, device=self._ready.study.device)
        return self._ready

    def found(self) -> Sequence[Task]:
        """Nothing: the worker ends with the run."""
        return ()

    def free(self) -> Sequence[str]:
        """The worker, where it has nothing to do."""
        assert self._ready is not None, "start the executor first"
        return () if self._task is not None else (self._ready.environment.fingerprint,)

    def submit(self, task: Task) -> None:
        """Take on a group."""
        assert self._task is None, "the worker is not free"
        self._task, self._outcomes, self._left = task, None, len(task.cases)

    def wait(self, seconds: float | None) -> Sequence[Report]:
        """The next outcome of the group, however long that takes, or how far it is."""
        if self._task is None:
            return ()
        assert self._ready is not None
        if self._outcomes is None:
            self._outcomes = iter(self._worker.measure_together(self._task.cases))
            return (Began(self._task.id, self._place, datetime.now(UTC).isoformat()),)
        outcome = next(self._outcomes)
        if isinstance(outcome, Advance):
            return (outcome,)
        self._left -= 1
        measured = Measured(self._task.id, (outcome,), self._ready.environment, last=self._left == 0)
        if measured.last:
            # So the worker is told that this one is kept, too; else it would take the next group for that, and hang.
            next(self._outcomes, None)
            self._task = self._outcomes = None
        return (measured,)

    def workers(self) -> Sequence[Place]:
        """The one."""
        return (self._place,)

    def close(self) -> None:
        """Close the worker."""
        self._worker.close()


def _create(asked: Asked) -> Executor:
    if asked.workers is not None:
        raise UsageError("--workers is of --executor devices and others: the local one has one worker")
    return OneWorker(WorkerExecutor(trainings.variables(asked.directory)))


EXECUTOR = Kind("local", "one process of this machine measures group after group (the default)", _create)

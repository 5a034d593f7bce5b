"""Every device of this machine: one worker a GPU, or one for each of some sets of its processors."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from pyprof import device as devices
from pyprof.errors import IncompleteError, PyprofError, UsageError
from pyprof.executors.kind import Asked, Kind
from pyprof.executors.seats import Seat, joined, on_host, seats_of
from pyprof.executors.serve import measure_task
from pyprof.records import trainings
from pyprof.records.executor import Advance, Began, Executor, Lost, Ready, Report, Task, Warned, Worker
from pyprof.records.place import Place
from pyprof.records.study import Study
from pyprof.worker.executors import WorkerExecutor

# A worker that loses so many groups in a row is given no more.
MOST_LOSSES = 3
# What a worker that is being stopped may take.
_STOP_SECONDS = 4.0


class StoppableWorker(Worker, Protocol):
    """A worker that another thread can end."""

    def stop(self) -> None:
        """End what is being measured, which raises PyprofError in its own thread."""
        ...


@dataclass
class _Sitting:
    """A worker at its seat, in a thread that sleeps while the worker's own process measures.

    One for sharded models sits on the seats of several others, its `members`, which have nothing to do meanwhile.
    """

    seat: Seat
    place: Place
    worker: StoppableWorker
    tasks: queue.SimpleQueue[Task | Study | None] = field(default_factory=queue.SimpleQueue)
    ready: Ready | None = None
    busy: bool = False
    losses: int = 0
    retired: bool = False
    thread: threading.Thread | None = None
    members: tuple[_Sitting, ...] = ()
    refused: str = ""

    @property
    def occupied(self) -> tuple[_Sitting, ...]:
        """The workers whose seats it takes: its own, or those of its members."""
        return self.members or (self,)

    def begin(self, reports: queue.SimpleQueue[Report | _Started]) -> None:
        """Start its thread."""
        self.thread = threading.Thread(target=_serve, args=(self, reports), daemon=True)
        self.thread.start()

    def fits(self, task: Task) -> bool:
        """Whether the worker has the environment that a task is to be measured in."""
        return self.ready is not None and task.environment in (None, self.ready.environment.fingerprint)


@dataclass(frozen=True)
class _Started:
    sitting: _Sitting
    outcome: Ready | PyprofError


class DevicesExecutor:
    """Workers of this machine, a process each, which ends with this one whatever becomes of it.

    `seats` are where they sit, or tell so from the study's device. `worker` makes the worker of a seat.
    """

    name = "devices"
    keeps: Sequence[str] = ()

    def __init__(
        self,
        seats: Sequence[Seat] | Callable[[str], Sequence[Seat]],
        worker: Callable[[Mapping[str, str]], StoppableWorker] = WorkerExecutor,
    ) -> None:
        self._seats = seats
        self._make = worker
        self._sittings: list[_Sitting] = []
        # Those for sharded models, by the names of their seats.
        self._joint: dict[tuple[str, ...], _Sitting] = {}
        self._study: Study | None = None
        self._reports: queue.SimpleQueue[Report | _Started] = queue.SimpleQueue()
        self._kept: list[Report] = []
        self._of_task: dict[str, _Sitting] = {}
        # Given out, and waiting for a worker that has not lost them before.
        self._pending: list[Task] = []

    def start(self, study: Study) -> Ready:
        """Start a worker at every seat; those that cannot are done without. Raises what the last says if none can."""
        seats = tuple(self._seats(study.device) if callable(self._seats) else self._seats)
        most = max(study.ranks.values(), default=1)
        if most > len(seats):
            raise UsageError(
                f"the study has a model over {most} ranks, which needs as many devices, and there are {len(seats)}: "
                f"give --workers {most} or more, or leave the model out"
            )
        study = _divided(study, seats)
        machine = socket.gethostname()
        self._sittings = [_Sitting(seat, Place(machine, seat.name), self._make(seat.variables)) for seat in seats]
        first = self._first(study)
        self._study = first.study
        others = [each for each in self._sittings if each.ready is None and not each.retired]
        for sitting in others:
            sitting.tasks.put(first.study)
        for _ in others:
            started = self._next_started()
            if isinstance(started.outcome, PyprofError):
                self._retire(started.sitting, str(started.outcome))
        return first

    def _first(self, study: Study) -> Ready:
        """The first worker that starts settles the study for all."""
        for sitting in self._sittings:
            sitting.begin(self._reports)
        failure: PyprofError | None = None
        for sitting in self._sittings:
            sitting.tasks.put(study)
            outcome = self._next_started().outcome
            if isinstance(outcome, Ready):
                return outcome
            if isinstance(outcome, UsageError):
                raise outcome
            failure = outcome
            self._retire(sitting, str(outcome))
        assert failure is not None
        raise failure

    def _next_started(self) -> _Started:
        started = self._reports.get()
        assert isinstance(started, _Started)
        return started

    def found(self) -> Sequence[Task]:
        """Nothing: the workers end with the run."""
        return ()

    def free(self) -> Sequence[str]:
        """The environments of the workers that have nothing to do; none while a sharded model waits for several."""
        if any(task.ranks > 1 for task in self._pending):
            return ()
        idle = (each.ready for each in self._sittings if not each.busy and not each.retired)
        return tuple(ready.environment.fingerprint for ready in idle if ready is not None)

    def submit(self, task: Task) -> None:
        """Give a group to a worker of the wanted environment; see ``Executor.submit``."""
        self._pending.append(task)
        self._assign()

    def _assign(self) -> None:
        """Give each group that waits to a worker; one that was lost waits for another worker, if there is one."""
        for task in tuple(self._pending):
            up = [each for each in self._sittings if each.ready is not None and not each.retired]
            if len(up) < task.ranks:
                self._pending.remove(task)
                self._kept.append(
                    Lost(task.id, f"it needs {task.ranks} devices at once, and there are no more than {len(up)}")
                )
                continue
            fitting = [each for each in up if each.fits(task)]
            fitting = fitting if len(fitting) >= task.ranks else up
            elsewhere = [each for each in fitting if each.place.seat not in task.avoid]
            elsewhere = elsewhere if len(elsewhere) >= task.ranks else fitting
            idle = sorted((each for each in elsewhere if not each.busy), key=lambda each: each.losses)
            if len(idle) < task.ranks:
                if task.ranks > 1:
                    return  # what comes later would keep taking the seats that this one waits for
                continue
            sitting = idle[0] if task.ranks == 1 else self._together(idle[: task.ranks])
            for each in sitting.occupied:
                each.busy = True
            self._of_task[task.id] = sitting
            self._pending.remove(task)
            sitting.tasks.put(task)

    def _together(self, members: Sequence[_Sitting]) -> _Sitting:
        """A worker on the seats of several."""
        assert self._study is not None, "start the executor first"
        names = tuple(each.seat.name for each in members)
        if names not in self._joint:
            seat = joined([each.seat for each in members])
            place = Place(members[0].place.machine, " and ".join(each.place.device for each in members))
            sitting = _Sitting(seat, place, self._make(seat.variables), members=tuple(members))
            sitting.begin(self._reports)
            sitting.tasks.put(_multiplied(self._study, members))
            self._joint[names] = sitting
        return self._joint[names]

    def wait(self, seconds: float | None) -> Sequence[Report]:
        """Sleep until a worker says something; see ``Executor.wait``."""
        reports, self._kept = self._kept, []
        if not reports and all(each.retired for each in self._sittings):
            raise IncompleteError(
                "no worker is left, as each has lost several groups in a row: what was measured is kept, so see to the "
                "devices and go on with --resume"
            )
        deadline = None if seconds is None else time.monotonic() + seconds
        while not reports:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                report = self._reports.get(timeout=left)
            except queue.Empty:
                return ()
            if not isinstance(report, _Started):
                reports.append(report)
                self._note(report)
        return reports + self._kept_now()

    def _kept_now(self) -> list[Report]:
        kept, self._kept = self._kept, []
        return kept

    def _note(self, report: Report) -> None:
        """A worker that is done is free again, and one that only loses what it is given is retired."""
        if isinstance(report, Began | Advance | Warned):
            return
        lost = isinstance(report, Lost) and report.counts
        for sitting in self._of_task.pop(report.task).occupied:
            sitting.busy = False
            sitting.losses = sitting.losses + 1 if lost else 0
            if isinstance(report, Lost) and sitting.losses >= MOST_LOSSES:
                self._retire(sitting, report.reason)
        self._assign()

    def _retire(self, sitting: _Sitting, reason: str) -> None:
        sitting.retired = True
        sitting.tasks.put(None)
        self._kept.append(Warned(f"the worker on {sitting.place} is given no more groups: {reason}"))

    def workers(self) -> Sequence[Place]:
        """The workers that are up."""
        return tuple(each.place for each in self._sittings if each.ready is not None and not each.retired)

    def close(self) -> None:
        """End all workers at once."""
        every = [*self._sittings, *self._joint.values()]
        for sitting in every:
            sitting.tasks.put(None)
            sitting.worker.stop()
        deadline = time.monotonic() + _STOP_SECONDS
        for sitting in every:
            if sitting.thread is not None:
                sitting.thread.join(max(0.0, deadline - time.monotonic()))
        self._sittings, self._joint = [], {}


def _serve(sitting: _Sitting, reports: queue.SimpleQueue[Report | _Started]) -> None:
    """The thread of a worker: it starts it, and gives it one task after the other."""
    if sitting.seat.cores is not None:
        # Of this thread alone; the processes that it starts inherit it.
        os.sched_setaffinity(0, sitting.seat.cores)
    while (asked := sitting.tasks.get()) is not None:
        if isinstance(asked, Study):
            reports.put(_Started(sitting, _start(sitting, asked)))
            continue
        if sitting.ready is None:
            reports.put(Lost(asked.id, sitting.refused, sitting.place))
            continue
        reports.put(Began(asked.id, sitting.place, datetime.now(UTC).isoformat()))
        try:
            report: Report = measure_task(sitting.worker, sitting.ready, asked, sitting.place, reports.put)
        except Exception as error:
            report = Lost(asked.id, f"{type(error).__name__}: {error}", sitting.place)
        reports.put(report)
    sitting.worker.close()


def _start(sitting: _Sitting, study: Study) -> Ready | PyprofError:
    try:
        sitting.ready = sitting.worker.start(study)
    except PyprofError as error:
        sitting.refused = str(error)
        return error
    gpus = sitting.ready.environment.gpus
    if len(gpus) == 1:
        sitting.place = replace(sitting.place, device=f"{sitting.seat.name} {gpus[0].uuid}")
    return sitting.ready


def _divided(study: Study, seats: Sequence[Seat]) -> Study:
    """The study of one worker of a host: threads for its own processors, and its part of the memory."""
    if not on_host(seats):
        return replace(study, device="cuda") if study.device == devices.AUTO else study
    budget = study.memory_budget or devices.of("cpu").memory_budget().bytes // len(seats)
    threads = study.threads or min(len(seat.cores or ()) for seat in seats)
    return replace(study, device="cpu", threads=threads, memory_budget=budget)


def _multiplied(study: Study, members: Sequence[_Sitting]) -> Study:
    """The study of a worker on the seats of several, which has their threads and, on the host, their memory."""
    if not on_host([each.seat for each in members]):
        return study
    count = len(members)
    budget = None if study.memory_budget is None else study.memory_budget * count
    return replace(study, threads=(study.threads or 1) * count, memory_budget=budget)


def _create(asked: Asked) -> Executor:
    kept = trainings.variables(asked.directory)
    return DevicesExecutor(
        lambda device: seats_of(asked.workers, device), lambda variables: WorkerExecutor({**variables, **kept})
    )


EXECUTOR = Kind("devices", "a worker a GPU of this machine, or --workers sets of its processors", _create)

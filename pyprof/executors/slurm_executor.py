"""Slurm: arrays of jobs that stay and take group after group from a directory, which they share with the run."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyprof.errors import IncompleteError, PyprofError, UsageError
from pyprof.executors.remote import LOCAL
from pyprof.executors.slurm_crew import Crew
from pyprof.executors.slurm_job import Orders, serve
from pyprof.executors.slurm_queue import Queue, Resources, check_installed
from pyprof.executors.spool import LOGS, Message, Spool, Told
from pyprof.plain import printable
from pyprof.quantity import format_seconds
from pyprof.records import study as studies
from pyprof.records.environment import Environment
from pyprof.records.executor import Lost, Ready, Report, Task, Warned
from pyprof.records.place import Place
from pyprof.records.study import Study

# What a run directory holds while there are jobs.
FOLDER = "slurm"
# A worker has a second group to go on with, so that it need not wait until the run has seen what came of the first.
_AHEAD = 2
_CLOSE_SECONDS = 4.0
# So many jobs in a row that end before they are ready, or submissions that are refused, mean that it goes on so.
_FAILED_STARTS, _REFUSED_SUBMISSIONS = 3, 60


@dataclass(frozen=True)
class Pace:
    """How often (seconds) the directory and the queue are looked at, and how long a job waits for a group."""

    look: float = 0.5
    ask: float = 5.0
    idle: float = 60.0


class SlurmExecutor:
    """Jobs of Slurm as workers; see ``pyprof.records.executor.Executor``.

    All that passes between the run and its jobs lies in the run's `directory`, so that the jobs go on where the run is
    killed, and a later one finds what they did. `workers` is how many jobs there are at most; they end by themselves
    when there is nothing to do, and others are submitted when there is again. `worker` is what measures in a job,
    "module:function". Raises UsageError where submitit or Slurm is not there.
    """

    name = "slurm"
    keeps: Sequence[str] = (FOLDER,)

    def __init__(
        self,
        directory: Path,
        workers: int,
        resources: Resources,
        *,
        resumed: bool = False,
        worker: str = LOCAL,
        pace: Pace | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        check_installed()
        self._spool, self._workers, self._pace = Spool(directory.absolute() / FOLDER), workers, pace or Pace()
        self._resources, self._resumed, self._tell = resources, resumed, tell
        limit = None if resources.minutes is None else 60.0 * resources.minutes
        self._orders = Orders(str(self._spool.directory), worker, self._pace.idle, limit)
        self._settings: Message = {}
        self._earlier: Message | None = None
        self._crew = Crew()
        self._asked, self._is_answered = -math.inf, False
        self._delivered: dict[str, Told] = {}
        self._taken_since: dict[str, float] = {}
        self._warned: set[str] = set()
        self._refused_submissions = 0
        self._closed = False

    def start(self, study: Study) -> Ready:
        """Submit the jobs, and wait until one of them is ready, however long that is; see ``Executor.start``."""
        # Without a word a job would take all processors of its node, where Slurm does not keep it from that.
        study = replace(study, threads=study.threads or self._resources.cpus)
        self._open(study)
        begin = time.monotonic()
        self._ask()
        self._submit(self._workers - len(self._crew.alive) - len(self._crew.coming))
        told = ""
        while not self._crew.alive:
            if self._crew.refused:
                raise UsageError(next(iter(self._crew.refused.values())))
            if self._crew.failed and not self._crew.coming and self._is_answered:
                raise UsageError(f"the jobs of Slurm end before they can measure: {self._last_words()}")
            waiting = f"waiting for a job of Slurm{self._crew.why_none_runs()}"
            if waiting != told:
                self._tell(waiting)
                told = waiting
            time.sleep(self._pace.look)
            self._listen()
            if time.monotonic() - self._asked >= self._pace.ask and self._ask() and not self._crew.failed:
                # Some may have been preempted or cancelled before they were ready.
                self._submit(self._workers - len(self._crew.alive) - len(self._crew.coming))
        first = self._spool.workers()[self._crew.alive[0]]
        waited = time.monotonic() - begin
        ready = Ready(studies.parse(first["study"], "the study"), Environment.from_json(first["environment"]), waited)
        if self._settings["settled"]:
            settled = studies.parse(self._settings["study"], "the study")
            return replace(ready, study=replace(settled, time_budget=study.time_budget))
        self._settings = {**self._settings, "study": ready.study.to_table(), "settled": True}
        self._spool.write_settings(self._settings)
        return ready

    def _open(self, study: Study) -> None:
        """Make the directory, or take over that of the run which this one goes on with."""
        earlier = self._spool.settings
        name = f"pyprof{secrets.token_hex(4)}" if earlier is None else earlier["name"]
        self._queue = Queue(name, self._spool.directory / LOGS, self._resources)
        if earlier is not None and not self._resumed:
            # What a run left that was killed before it had measured anything.
            self._queue.cancel()
            self._spool.remove()
            earlier = None
        own = {"name": name, "study": study.to_table(), "settled": False, "directory": os.getcwd()}
        self._earlier, self._settings = earlier, earlier or own
        self._spool.write_settings(self._settings)
        # When a group began before this run says nothing about clocks, and an old refusal nothing about new jobs.
        for told in self._spool.told("began"):
            self._spool.forget(told)
        for worker, message in self._spool.workers().items():
            if "refused" in message:
                self._spool.dismiss(worker)

    def found(self) -> Sequence[Task]:
        """What an earlier run gave out and nobody has read the outcome of; see ``Executor.found``."""
        if self._earlier is None:
            return ()
        held = [task for tasks in self._spool.taken().values() for task in tasks]
        finished = [told.task for told in self._spool.told("done")]
        return tuple({task.id: task for task in (*self._spool.waiting(), *held, *finished)}.values())

    def free(self) -> Sequence[str]:
        """Room for a second group of every worker, and for one of every job to come; see ``Executor.free``."""
        alive, taken = self._crew.alive, self._spool.taken()
        room: list[str] = []
        for name in alive:
            room += [self._crew.ready[name].environment.fingerprint] * max(0, _AHEAD - len(taken.get(name, ())))
        room += [""] * max(0, self._workers - len(alive))
        for task in self._spool.waiting():
            fitting = (task.environment, "") if task.environment is not None else ("", *room[:1])
            entry = next((entry for entry in fitting if entry in room), None)
            if entry is not None:
                room.remove(entry)
        return room

    def submit(self, task: Task) -> None:
        """Leave a group for whichever job is free first."""
        self._spool.put(task)

    def wait(self, seconds: float | None) -> Sequence[Report]:
        """Look at the directory until there is something to tell; see ``Executor.wait``."""
        # The caller has dealt with what it was given before.
        for told in self._delivered.values():
            self._spool.forget(told)
        self._delivered.clear()
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        alive = len(self._crew.alive)
        while True:
            self._listen()
            reports = self._told()
            if time.monotonic() - self._asked >= self._pace.ask and self._ask():
                # What was handed in before its job ended is seen before the job counts as gone.
                reports += self._told() + self._losses() + self._staff()
            left = deadline - time.monotonic()
            if reports or left <= 0 or len(self._crew.alive) > alive:
                return reports
            time.sleep(min(left, self._pace.look))

    def workers(self) -> Sequence[Place]:
        """The jobs that are ready and run."""
        return [self._crew.ready[name].place for name in self._crew.alive]

    def close(self) -> None:
        """Cancel all jobs; what they handed in and nobody has read stays for a later run, and so do failures' logs."""
        if self._closed or not self._settings:
            return
        self._closed = True
        with contextlib.suppress(PyprofError):
            self._spool.stop()
        # Where Slurm does not answer, the jobs end by themselves: they are told to stop, and find nothing to do.
        with contextlib.suppress(PyprofError):
            self._queue.cancel()
            deadline = time.monotonic() + _CLOSE_SECONDS
            while time.monotonic() < deadline:
                jobs = self._queue.jobs()
                if jobs is None or not any(job.alive for job in jobs.values()):
                    break
                time.sleep(0.1)
        if not self._crew.failed and all(told.name in self._delivered for told in self._spool.told("done")):
            self._spool.remove()

    def _told(self) -> list[Report]:
        """What the workers reported and was not delivered yet."""
        reports: list[Report] = []
        for told in self._spool.told("began"):
            self._spool.forget(told)
            reports.append(told.report)
        for told in self._spool.told("done"):
            if told.name not in self._delivered:
                self._delivered[told.name] = told
                self._taken_since.pop(told.task.id, None)
                reports.append(told.report)
        return reports

    def _losses(self) -> list[Report]:
        """What is lost because its job ended, hangs, or would have to run where none does."""
        reports: list[Report] = []
        for worker, tasks in self._spool.taken().items():
            if self._crew.is_gone(worker):
                reports += self._take_back(worker, *self._crew.end_of(worker))
                continue
            for task in tasks:
                since = self._taken_since.setdefault(task.id, time.monotonic())
                if task.allowed and time.monotonic() - since > task.allowed:
                    with contextlib.suppress(PyprofError):
                        self._queue.cancel([worker])
                    silence = f"job {worker} gave no answer for {format_seconds(task.allowed)}"
                    reports += self._take_back(worker, silence, True)
        if not self._crew.coming:
            here = {self._crew.ready[name].environment.fingerprint for name in self._crew.alive}
            reports += [
                Lost(task.id, "no job runs any more on a machine like that of what it is compared with")
                for task in self._spool.waiting()
                if task.environment is not None and task.environment not in here and self._spool.withdraw(task.id)
            ]
        return reports

    def _take_back(self, worker: str, reason: str, count: bool) -> list[Report]:
        hand = self._crew.ready.get(worker)
        place = None if hand is None else hand.place
        lost = self._spool.take_back(worker)
        for task in lost:
            self._taken_since.pop(task, None)
        return [Lost(task, reason, place, count) for task in lost]

    def _staff(self) -> list[Report]:
        """Submit the jobs that are missing; raises IncompleteError where none will ever measure."""
        crew = self._crew
        lines = [f"job {name} cannot measure: {reason}" for name, reason in crew.refused.items()]
        outstanding = len(self._spool.waiting()) + sum(map(len, self._spool.taken().values()))
        if not (crew.alive or crew.coming) and len(crew.failed) >= max(_FAILED_STARTS, self._workers):
            raise IncompleteError(f"no worker is left, as jobs end before they can measure: {self._last_words()}")
        try:
            self._submit(min(self._workers, outstanding) - len(crew.alive) - len(crew.coming))
            self._refused_submissions = 0
        except UsageError as error:
            # A controller may be busy or start anew, and there may be a limit on jobs.
            self._refused_submissions += 1
            if self._refused_submissions > _REFUSED_SUBMISSIONS and not crew.alive:
                raise IncompleteError(f"no worker is left: {error}") from error
            lines.append(str(error))
        if outstanding and not crew.alive and (why := crew.why_none_runs()):
            lines.append(f"no job of Slurm runs{why}")
        new = [line for line in lines if line not in self._warned]
        self._warned.update(new)
        return [Warned(line) for line in new]

    def _submit(self, count: int) -> None:
        if count > 0:
            self._queue.submit(count, serve, self._orders)
            self._ask()

    def _ask(self) -> bool:
        """Ask the queue; where it does not answer, all stays as it was."""
        jobs = self._queue.jobs()
        self._asked, self._is_answered = time.monotonic(), jobs is not None
        self._listen()
        if jobs is not None:
            self._crew.learn(jobs)
        return jobs is not None

    def _listen(self) -> None:
        for name, message in self._spool.workers(self._crew.known).items():
            self._crew.hear(name, message)

    def _last_words(self) -> str:
        """The last line that a job printed, and where the others are; or how the jobs ended."""
        if self._crew.refused:
            return next(iter(self._crew.refused.values()))
        logs = sorted((self._spool.directory / LOGS).glob("*.err"), key=lambda path: path.stat().st_mtime)
        for path in reversed(logs):
            lines = path.read_text(errors="replace").strip().splitlines()
            if lines:
                return f"{printable(lines[-1])[:300]} (the rest is in {path})"
        return self._crew.end_of(max(self._crew.failed))[0]

"""Ray: actors that stay and measure group after group, each with the resources that it asks for."""

from __future__ import annotations

import logging
import math
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyprof.errors import IncompleteError, UsageError
from pyprof.executors import ray_guardian
from pyprof.executors.ray_actor import Actor
from pyprof.executors.remote import LOCAL, Message
from pyprof.failures import sentence
from pyprof.quantity import format_seconds
from pyprof.records import study as studies
from pyprof.records.environment import Environment
from pyprof.records.executor import Lost, Ready, Report, Task, Warned, report_from_json
from pyprof.records.place import Place
from pyprof.records.study import Study

_INSTALL = "pip install 'pyprof-transformers[ray]'"
HERE = "local"
# So many actors in a row that end before they are ready mean that none ever will be.
_FAILED_STARTS = 3
# How long a look at the actors lasts before hanging ones are looked for, and nobody is told that it waits.
_LOOK_SECONDS = 1.0
# How long a start lasts before a user is told what it waits for.
_PATIENCE_SECONDS = 5.0
# How long the first waits for the others, which may find no room yet.
_TOGETHER_SECONDS = 30.0
# What little passes through Ray's store of objects: the least that it takes.
_STORE_BYTES = 80 * 2**20
_LONGEST_FOLDER = 26
_REACH_SECONDS = 10.0
# What Ray prints by itself is none of the run's messages.
_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True)
class Wanted:
    """What each worker asks the cluster for; `resources` are the cluster's own names."""

    cpus: int = 1
    gpus: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def table(self) -> dict[str, float]:
        """As Ray counts them."""
        own = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        return {name: amount for name, amount in own.items() if amount}


@dataclass(eq=False)
class _Worker:
    """An actor; `environment` and `place` are None until it is ready, `task` is what it measures since `since`."""

    actor: Any
    environment: Environment | None = None
    place: Place | None = None
    task: Task | None = None
    since: float = 0.0


class RayExecutor:
    """Actors of Ray as workers; see ``pyprof.records.executor.Executor``.

    `workers` is how many there are, by default as many as the cluster has room for now. `address` is that of a cluster
    that runs, "local" for one of this machine, which ends with the executor; by default RAY_ADDRESS says. They end when
    this process does. `worker` is what measures in an actor, "module:function". Raises UsageError where ray is not
    installed.
    """

    name = "ray"
    keeps: Sequence[str] = ()

    def __init__(
        self,
        wanted: Wanted,
        workers: int | None = None,
        *,
        address: str | None = None,
        worker: str = LOCAL,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A worker without a GPU is not to see one, which a later Ray does by itself and this one announces.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
        try:
            import ray
        except ImportError as error:
            raise UsageError(
                f"the executor ray needs the package ray, which cannot be imported ({error}): {_INSTALL}"
            ) from error
        self._ray: Any = ray
        self._wanted, self._count, self._worker, self._tell = wanted, workers, worker, tell
        self._address = address or os.environ.get("RAY_ADDRESS") or HERE
        self._guardian: subprocess.Popen[bytes] | None = None
        self._begun = False
        self._study: Message = {}
        self._crew: list[_Worker] = []
        # What actors were asked for and have not answered: the worker, and whether the answer is its start.
        self._asked: dict[Any, tuple[_Worker, bool]] = {}
        self._reports: list[Report] = []
        self._failed_starts = 0
        self._is_refused = False
        self._last_failure = ""

    def start(self, study: Study) -> Ready:
        """Start the actors, and wait for the first, and a while for the others; see ``Executor.start``."""
        self._connect()
        begin = time.monotonic()
        count = self._count or self._room()
        # On the cluster other work has the other processors.
        first = self._first(replace(study, threads=study.threads or max(1, self._wanted.cpus)))
        environment = first.environment
        assert environment is not None
        for _ in range(count - 1):
            self._ask(self._hire(), "start", self._study, starts=True)
        # Where several are on one machine, one that loads torch would disturb what another measures.
        deadline = time.monotonic() + _TOGETHER_SECONDS
        while not all(each.environment for each in self._crew) and time.monotonic() < deadline:
            self._look(_LOOK_SECONDS)
        return Ready(studies.parse(self._study, "the study"), environment, time.monotonic() - begin)

    def _first(self, study: Study) -> _Worker:
        """An actor that is ready; one that is killed before that may be unlucky, and one that refuses is right."""
        begin, told = time.monotonic(), False
        while True:
            worker = self._hire()
            self._ask(worker, "start", study.to_table(), starts=True)
            while worker.environment is None and worker in self._crew:
                self._look(_LOOK_SECONDS)
                if not told and time.monotonic() - begin > _PATIENCE_SECONDS:
                    self._tell(f"waiting for Ray to start a worker ({_spoken(self._wanted.table)})")
                    told = True
            if worker.environment is not None:
                return worker
            if self._is_refused or self._failed_starts >= _FAILED_STARTS:
                raise UsageError(self._last_failure)

    def found(self) -> Sequence[Task]:
        """Nothing: actors end with the run that started them, and what they were at is measured again."""
        return ()

    def free(self) -> Sequence[str]:
        """The fingerprints of the actors that are ready and idle."""
        return [each.environment.fingerprint for each in self._crew if each.environment is not None and not each.task]

    def submit(self, task: Task) -> None:
        """Give a group to an idle actor, to one elsewhere than where it was lost before if there is one."""
        idle = [
            each
            for each in self._crew
            if each.environment is not None
            and each.task is None
            and task.environment in (None, each.environment.fingerprint)
        ]
        if not idle:
            reason = "no worker is left on a machine like that of what it is compared with"
            self._reports.append(Lost(task.id, reason))
            return
        worker = min(idle, key=lambda each: each.place is not None and each.place.seat in task.avoid)
        worker.task, worker.since = task, time.monotonic()
        self._ask(worker, "began", task.to_json())
        self._ask(worker, "measure", task.to_json())

    def wait(self, seconds: float | None) -> Sequence[Report]:
        """Wait until an actor has answered; see ``Executor.wait``."""
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        free = len(self.free())
        while not self._reports:
            if not self._crew:
                raise IncompleteError(f"no worker is left: {self._last_failure}")
            left = deadline - time.monotonic()
            self._look(max(0.0, min(_LOOK_SECONDS, left)))
            self._end_hanging()
            if left <= 0 or len(self.free()) > free:
                break
        reports, self._reports = self._reports, []
        return reports

    def workers(self) -> Sequence[Place]:
        """The actors that are ready."""
        return [each.place for each in self._crew if each.place is not None]

    def close(self) -> None:
        """Kill the actors, and the cluster where it was started for them."""
        crew, self._crew = self._crew, []
        self._asked.clear()
        if self._ray.is_initialized():
            for worker in crew:
                self._ray.kill(worker.actor, no_restart=True)
            if self._begun:
                self._ray.shutdown()
        self._begun = False
        if self._guardian is not None:
            ray_guardian.release(self._guardian)
            self._guardian = None

    def _connect(self) -> None:
        """Start a cluster or join one, unless this process has joined one already."""
        if self._ray.is_initialized():
            return
        self._begun = True
        if self._address != HERE:
            try:
                _reach(self._address)
                self._ray.init(address=self._address, **_QUIET)
            except Exception as error:  # of which Ray has many, and gRPC more
                raise UsageError(
                    f"there is no Ray cluster at {self._address} ({sentence(error)}): check address, or leave it out"
                ) from error
            return
        # Ray takes sixty letters for the name of a socket, which has a hundred at most.
        above = tempfile.gettempdir()
        folder = tempfile.mkdtemp(prefix="pyprof-ray-", dir=above if len(above) <= _LONGEST_FOLDER else "/tmp")
        self._guardian = ray_guardian.start(folder)
        os.environ[ray_guardian.MARK] = folder
        try:
            self._ray.init(
                address=HERE,
                num_cpus=len(os.sched_getaffinity(0)),
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=folder,
                **_QUIET,
            )
        finally:
            # What Ray starts has it by now; what this process starts later is not Ray's.
            del os.environ[ray_guardian.MARK]
        short = {name: amount for name, amount in self._wanted.table.items() if amount > self._total().get(name, 0)}
        if short:
            raise UsageError(f"this machine has not the {_spoken(short)} that a worker of Ray is to have: ask for less")

    def _total(self) -> Mapping[str, float]:
        total: Mapping[str, float] = self._ray.cluster_resources()
        return total

    def _room(self) -> int:
        """How many workers the cluster has room for, at least one."""
        total = self._total()
        each = (total.get(name, 0) // amount for name, amount in self._wanted.table.items())
        return max(1, int(min(each, default=1)))

    def _hire(self) -> _Worker:
        options = {
            "num_cpus": self._wanted.cpus,
            "num_gpus": self._wanted.gpus,
            "resources": dict(self._wanted.resources),
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        actor = self._ray.remote(Actor).options(**options).remote(self._worker, os.getcwd())
        worker = _Worker(actor)
        self._crew.append(worker)
        return worker

    def _ask(self, worker: _Worker, method: str, message: Message, *, starts: bool = False) -> None:
        self._asked[getattr(worker.actor, method).remote(message)] = (worker, starts)

    def _look(self, seconds: float) -> None:
        """Take in what actors have answered, and wait for so long until one has."""
        waiting = list(self._asked)
        if not waiting:
            time.sleep(seconds)
            return
        answered, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        more, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        for reference in [each for each in waiting if each in {*answered, *more}]:
            # The end of an actor answers all that it was asked for.
            if reference not in self._asked:
                continue
            worker, starts = self._asked.pop(reference)
            try:
                answer: Message = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                self._lose(worker, *_why(error))
                continue
            if starts:
                self._has_started(worker, answer)
                continue
            report = report_from_json(answer)
            if isinstance(report, Lost) or "measured" in answer:
                worker.task = None
            self._reports.append(report)

    def _has_started(self, worker: _Worker, answer: Message) -> None:
        if "refused" in answer:
            self._is_refused = True
            self._lose(worker, answer["refused"], True)
            return
        worker.environment = Environment.from_json(answer["environment"])
        worker.place = Place.from_json(answer["place"])
        self._failed_starts = 0
        # Later ones measure by what the first has settled.
        self._study = self._study or answer["study"]

    def _lose(self, worker: _Worker, reason: str, counts: bool) -> None:
        """An actor is no more: report what it was at, and put another in its place."""
        self._crew.remove(worker)
        self._asked = {reference: (each, starts) for reference, (each, starts) in self._asked.items() if each != worker}
        self._ray.kill(worker.actor, no_restart=True)
        self._last_failure = reason
        if worker.environment is None:
            self._failed_starts += 1
            if self._study:
                self._reports.append(Warned(f"a worker of Ray could not start: {reason}"))
        if worker.task is not None:
            self._reports.append(Lost(worker.task.id, reason, worker.place, counts))
        if self._study and self._failed_starts < _FAILED_STARTS:
            self._ask(self._hire(), "start", self._study, starts=True)

    def _end_hanging(self) -> None:
        now = time.monotonic()
        for worker in list(self._crew):
            task = worker.task
            if task is not None and task.allowed and now - worker.since > task.allowed:
                self._lose(worker, f"its worker of Ray gave no answer for {format_seconds(task.allowed)}", True)


def _reach(address: str) -> None:
    """Raise OSError where nobody listens at an address with a port; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()


def _why(error: Exception) -> tuple[str, bool]:
    """Why an actor ended, in words, and whether that may be the fault of what it measured."""
    if getattr(error, "preempted", False):
        return "its worker of Ray was preempted", False
    said = str(error)
    if "node" in said and ("died" in said or "terminated" in said) and "its node" in said:
        return "its worker of Ray lost its node", False
    cause = getattr(error, "cause", None)
    return f"its worker of Ray ended: {sentence(cause if isinstance(cause, Exception) else error)}", True


def _spoken(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())

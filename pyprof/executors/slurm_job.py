"""What runs in a job of Slurm: it takes group after group from the directory that it shares with the run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from pyprof.errors import PyprofError
from pyprof.executors.remote import Remote
from pyprof.executors.spool import Message, Spool
from pyprof.records.executor import Task

# Looking for a group costs a listing of a directory: it grows rarer where there is none.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
# How long a job waits for another to settle the study, which loads torch, before it does so itself.
_SETTLING_SECONDS, _SETTLING_PAUSE = 60.0, 0.2
# A group that was lost on this very device is left to another worker for so long.
_AVOIDED_SECONDS = 15.0


@dataclass(frozen=True)
class Orders:
    """What a job is told: the shared directory, how long it waits for a group, and when it is ended (seconds).

    `worker` is what measures, "module:function".
    """

    directory: str
    worker: str
    idle_seconds: float
    limit_seconds: float | None = None


def serve(orders: Orders) -> None:
    """Measure groups until there are none for a while, until the run says so, or until the time of the job is short.

    A job that is told to go (it is preempted, cancelled, or has reached its limit) goes at once: what it was at is
    measured elsewhere.
    """
    begin = time.monotonic()
    leaving = _Leaving()
    name, spool = job_name(os.environ), Spool(Path(orders.directory))
    settings = _settings(spool)
    if settings is None:
        return
    remote = Remote(orders.worker, settings["directory"])
    try:
        try:
            spool.register(name, remote.start(settings["study"]))
        except PyprofError as error:
            spool.register(name, {"refused": str(error)})
            return
        _Job(name, spool, remote, orders, begin, settings).go(leaving)
    finally:
        remote.close()


def job_name(variables: Mapping[str, str]) -> str:
    """A job's name as the queue lists it: that of the array and the place in it, or the job's own."""
    array, place = variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")
    return variables["SLURM_JOB_ID"] if array is None or place is None else f"{array}_{place}"


def _settings(spool: Spool) -> Message | None:
    """What the run noted, with the study as the first job has settled it, unless this is the first or that is slow."""
    deadline = time.monotonic() + _SETTLING_SECONDS
    settings = spool.settings
    while settings is not None and not (settings["settled"] or spool.is_first() or time.monotonic() > deadline):
        time.sleep(_SETTLING_PAUSE)
        settings = None if spool.stopped else spool.settings
    return settings


@dataclass
class _Job:
    """The loop of a job that is ready."""

    name: str
    spool: Spool
    remote: Remote
    orders: Orders
    begin: float
    settings: Message
    longest: float = 0.0
    _avoided: dict[str, float] = field(default_factory=dict)

    def go(self, leaving: Callable[[], bool]) -> None:
        last, pause = time.monotonic(), _FIRST_PAUSE
        while not (leaving() or self.spool.stopped or time.monotonic() - last > self.orders.idle_seconds):
            if self._is_short():
                return
            taken = self._take()
            if taken is None:
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
                continue
            self._measure(*taken)
            last, pause = time.monotonic(), _FIRST_PAUSE

    def _is_short(self) -> bool:
        """Whether what is left of the job's time is less than the longest group has taken so far."""
        limit = self.orders.limit_seconds
        return limit is not None and limit - (time.monotonic() - self.begin) < self.longest

    def _take(self) -> tuple[str, Task] | None:
        for name, task in self.spool.offers():
            if self._wants(task) and self.spool.take(self.name, name):
                return name, task
        return None

    def _wants(self, task: Task) -> bool:
        if task.environment not in (None, self.remote.fingerprint):
            return False
        if self.remote.place.seat not in task.avoid:
            return True
        now = time.monotonic()
        return now - self._avoided.setdefault(task.id, now) >= _AVOIDED_SECONDS

    def _measure(self, name: str, task: Task) -> None:
        begin = time.monotonic()
        self._settle()
        self.spool.tell("began", name, task, self.remote.began(task))
        self.spool.tell("done", name, task, self.remote.measure(task))
        self.spool.give_back(self.name, name)
        self.longest = max(self.longest, time.monotonic() - begin)

    def _settle(self) -> None:
        """Measure by what the first worker has settled, which is noted before the first group is given out."""
        if not self.settings["settled"]:
            self.settings = self.spool.settings or self.settings
            self.remote.settle(self.settings["study"])


class _Leaving:
    """Signals: the end of the job is near (take no more groups), or it has come."""

    def __init__(self) -> None:
        self._told = False
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._soon)
        # submitit lets a job live on after this one. The process that measures ends with this one.
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))

    def __call__(self) -> bool:
        return self._told

    def _soon(self, number: int, frame: FrameType | None) -> None:
        self._told = True

"""The jobs of a run: what the queue says of them, what they say of themselves, and how they ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyprof.executors.slurm_queue import Job
from pyprof.executors.spool import Message
from pyprof.plain import printable
from pyprof.records.environment import Environment
from pyprof.records.place import Place

# How a job ended that was through no fault of what it measured, and through one that may be.
_NO_FAULT = {
    "PREEMPTED": "was preempted",
    "CANCELLED": "was cancelled",
    "NODE_FAIL": "lost its node",
    "BOOT_FAIL": "lost its node",
    "REQUEUED": "was put back into the queue",
    "REVOKED": "was revoked",
}
_FAULT = {
    "TIMEOUT": "reached its time limit",
    "DEADLINE": "reached its deadline",
    "OUT_OF_MEMORY": "was killed, as Slurm does when memory runs out",
}
# A file on a shared file system may be seen later than the end of the job that wrote it: so often a job has to be
# missing before what it was at counts as lost.
_GONE = 2
# While a job is completing the queue does not say how it ended, which lasts as long as its processes take to end: so
# often that is waited for.
_COMPLETING, _MOST_COMPLETING = "COMPLETING", 12


@dataclass(frozen=True)
class Hand:
    """A job that is ready: what it measures with, and where."""

    environment: Environment
    place: Place


@dataclass
class Crew:
    """Jobs by their names in the queue; `ready` are those that have settled the study, `refused` those that cannot."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    ready: dict[str, Hand] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    _missing: dict[str, int] = field(default_factory=dict)

    @property
    def known(self) -> set[str]:
        """The jobs that have said something of themselves."""
        return self.ready.keys() | self.refused.keys()

    @property
    def alive(self) -> list[str]:
        """Jobs that are ready and run."""
        return [name for name in self.ready if not self._missing.get(name)]

    @property
    def coming(self) -> list[str]:
        """Jobs that are not ready yet."""
        return [name for name, job in self.jobs.items() if job.alive and name not in self.known]

    def is_gone(self, name: str) -> bool:
        """Whether a worker has ended, how is known, and what it handed in can be seen by now."""
        job, missing = self.jobs.get(name), self._missing.get(name, 0)
        return missing >= (_MOST_COMPLETING if job is not None and _word(job) == _COMPLETING else _GONE)

    def hear(self, name: str, message: Message) -> None:
        """A job has said of itself that it is ready, or why it is not."""
        if "refused" in message:
            self.refused[name] = message["refused"]
        else:
            self.ready[name] = Hand(Environment.from_json(message["environment"]), Place.from_json(message["place"]))
            self.failed.clear()

    def learn(self, jobs: Mapping[str, Job]) -> None:
        """The queue has told all that it knows; what jobs said of themselves before that has been heard."""
        self.jobs = jobs
        for name in self.ready:
            job = jobs.get(name)
            gone = job is None or not job.alive
            self._missing[name] = self._missing.get(name, 0) + 1 if gone else 0
        self.failed.update(
            name
            for name, job in jobs.items()
            if not job.alive and name not in self.ready and _word(job) not in _NO_FAULT
        )

    def end_of(self, name: str) -> tuple[str, bool]:
        """How a job ended, in words, and whether that may be the fault of what it measured."""
        job = self.jobs.get(name)
        word = "" if job is None else _word(job)
        return f"job {name} {_NO_FAULT.get(word) or _FAULT.get(word) or 'ended'}", word not in _NO_FAULT

    def why_none_runs(self) -> str:
        """Why no job runs, by Slurm's own words; empty where it has none."""
        pending = next((job for job in self.jobs.values() if job.pending), None)
        if pending is None:
            return ""
        reason = "" if pending.reason in ("", "None") else f" ({printable(pending.reason)})"
        return f": job {pending.name} is pending{reason}"


def _word(job: Job) -> str:
    """A state without what may follow, as in "CANCELLED by 0"."""
    return job.state.split(maxsplit=1)[0] if job.state else ""

"""What passes between a run and what measures for it: one worker, or many at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from pyprof.errors import UsageError
from pyprof.plain import shown
from pyprof.records import validate
from pyprof.records.case import CASE, Case
from pyprof.records.environment import Environment
from pyprof.records.place import Place
from pyprof.records.record import Record
from pyprof.records.study import Study

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Ready:
    """A worker is ready: the study with the machine's choices filled in, and the environment it measures in.

    `waited` are the seconds until a cluster had room for it, which are not charged to a time budget.
    """

    study: Study
    environment: Environment
    waited: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """A record and the columns of its layers, None where there are none."""

    record: Record
    layers: Columns | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object of both."""
        return {"record": self.record.to_json(), "layers": self.layers}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Rebuild an outcome; raises UsageError where its record is damaged."""
        return cls(Record.from_json(data["record"]), data["layers"])


@dataclass(frozen=True)
class Advance:
    """How far a case is that takes long, in words (a training, say), and the seconds that this will still take."""

    case: Case
    what: str
    left: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {"advance": self.case.to_json(), "what": self.what, "left": self.left}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Advance:
        """Rebuild it; raises UsageError where its case is damaged."""
        return cls(Case.from_json(data["advance"]), str(data["what"]), float(data["left"]))


def by_itself(why: str) -> str:
    """The note on a case that was not timed together with its group."""
    return f"timed by itself, not in the same rounds as what it is compared with: {why}"


@runtime_checkable
class Worker(Protocol):
    """What measures groups, one after the other, and keeps nothing of a run but loaded models."""

    def start(self, study: Study) -> Ready:
        """Get ready to measure cases of the study; raises UsageError where the machine cannot."""
        ...

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome | Advance]:
        """Measure cases of one comparison in the same rounds; give each outcome as soon as it is known, in any order.

        In between it may say how far a case is. While the caller deals with an outcome, nothing is measured. What goes
        wrong with a case is a status of its record, never an exception, and the others are measured all the same, one
        by one if need be.
        """
        ...

    def close(self) -> None:
        """Stop at once and free everything; may be called twice."""
        ...


@dataclass(frozen=True)
class Task:
    """A group on its way to a worker: it is measured as a whole, or tried again as a whole.

    `group` names its cases, and `attempt` counts how often it was given out. `last`: no further attempt follows, so
    that whatever comes of it stands. `seconds` is what it is predicted to take, `allowed` after how many seconds
    without an answer its worker counts as hanging. `avoid` holds the machines and devices on which it was lost before,
    to be preferred last; `environment` is the fingerprint of the only environment in which it may be measured, None
    where any will do.
    """

    group: str
    cases: tuple[Case, ...]
    attempt: int = 1
    last: bool = False
    seconds: float = 0.0
    allowed: float = 0.0
    avoid: tuple[tuple[str, str], ...] = ()
    environment: str | None = None

    @property
    def id(self) -> str:
        """A name that no other task of a run has."""
        return f"{self.group}-{self.attempt}"

    @property
    def ranks(self) -> int:
        """How many devices it needs at once: as many as its most sharded model has ranks."""
        return max(case.ranks for case in self.cases)

    @classmethod
    def of(cls, cases: Sequence[Case], seconds: float, allowed: float) -> Task:
        """The first attempt at a group."""
        return cls(group_of(cases), tuple(cases), seconds=seconds, allowed=allowed)

    def again(self, lost: Place | None, *, last: bool) -> Task:
        """The next attempt, elsewhere if that can be."""
        avoid = self.avoid if lost is None or lost.seat in self.avoid else (*self.avoid, lost.seat)
        return replace(self, attempt=self.attempt + 1, last=last, avoid=avoid)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {
            **self.__dict__,
            "cases": [case.to_json() for case in self.cases],
            "avoid": [list(seat) for seat in self.avoid],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """Rebuild a task; raises UsageError where a field is missing, unknown or damaged."""
        task: Task = validate.checked(TASK, data, "the task")
        return task


def group_of(cases: Sequence[Case]) -> str:
    """Sixteen hexadecimal digits that name some cases, in whatever order they come."""
    return hashlib.sha256(",".join(sorted(case.key for case in cases)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Began:
    """A worker has begun with the task of that id; `clock` is its time of day, in ISO 8601 with UTC."""

    task: str
    place: Place
    clock: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `report_from_json` reads."""
        return {"began": self.task, "place": self.place.to_json(), "clock": self.clock}


@dataclass(frozen=True)
class Measured:
    """What came of a task, all of it at once; `last` is false for a worker that gives outcomes one by one."""

    task: str
    outcomes: tuple[Outcome, ...]
    environment: Environment
    last: bool = True

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `report_from_json` reads."""
        return {
            "measured": self.task,
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
            "environment": self.environment.to_json(),
            "last": self.last,
        }


@dataclass(frozen=True)
class Lost:
    """A task that came to nothing through no case of it: its worker died, hung, was preempted or lost its GPU.

    `counts` is false where that says nothing about the task (a job that was preempted or cancelled).
    """

    task: str
    reason: str
    place: Place | None = None
    counts: bool = True

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `report_from_json` reads."""
        place = None if self.place is None else self.place.to_json()
        return {"lost": self.task, "reason": self.reason, "place": place, "counts": self.counts}


@dataclass(frozen=True)
class Warned:
    """Something that a user should know, in one sentence."""

    sentence: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `report_from_json` reads."""
        return {"warned": self.sentence}


Report = Began | Advance | Measured | Lost | Warned


def report_from_json(data: Mapping[str, Any]) -> Report:
    """Rebuild a report; raises UsageError where it is damaged."""
    try:
        if "began" in data:
            return Began(str(data["began"]), Place.from_json(data["place"]), str(data["clock"]))
        if "advance" in data:
            return Advance.from_json(data)
        if "measured" in data:
            outcomes = tuple(Outcome.from_json(each) for each in data["outcomes"])
            environment = Environment.from_json(data["environment"])
            return Measured(str(data["measured"]), outcomes, environment, bool(data["last"]))
        if "lost" in data:
            place = None if data["place"] is None else Place.from_json(data["place"])
            return Lost(str(data["lost"]), str(data["reason"]), place, bool(data["counts"]))
        return Warned(str(data["warned"]))
    except (KeyError, TypeError) as error:
        raise UsageError(f"a worker's report is damaged ({shown(str(error))} is missing): measure anew") from error


class Executor(Protocol):
    """What has groups measured, by one worker or by many; all of it is called from one thread.

    `name` is what a user calls it; `keeps` names the files and folders of a run directory that are its own.
    """

    name: str
    keeps: Sequence[str]

    def start(self, study: Study) -> Ready:
        """Start workers, and tell what the first has made of the study; raises UsageError where it refuses it."""
        ...

    def found(self) -> Sequence[Task]:
        """What an earlier coordinator of this run gave out and is still under way, or done and unread; asked once.

        Its reports come from `wait` like all others.
        """
        ...

    def free(self) -> Sequence[str]:
        """A fingerprint for each group that can be taken on now: that of the environment, empty where it is unknown."""
        ...

    def submit(self, task: Task) -> None:
        """Have a group measured; not more than are free."""
        ...

    def wait(self, seconds: float | None) -> Sequence[Report]:
        """Sleep until there are reports, or until a worker has become free, or for so many seconds.

        Raises IncompleteError where no worker is left and none will come.
        """
        ...

    def workers(self) -> Sequence[Place]:
        """The workers that are up."""
        ...

    def close(self) -> None:
        """Stop all workers within seconds, and leave none behind; may be called twice."""
        ...


_seat = validate.listing(validate.words)
TASK = validate.instance(
    Task,
    group=validate.words,
    cases=validate.listing(CASE),
    attempt=validate.whole(1, validate.LARGE),
    last=validate.flag,
    seconds=validate.not_negative,
    allowed=validate.not_negative,
    avoid=validate.listing(_seat),
    environment=validate.optional(validate.words),
)

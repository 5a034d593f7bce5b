"""The groups that are under way: which worker has them, and how often each was lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyprof.records.case import Case
from pyprof.records.executor import Lost, Task
from pyprof.records.place import Place
from pyprof.study.groups import Spot

# How often a group is given out before what its workers did is taken for its own fault.
MOST_ATTEMPTS = 3
# How often it may be lost through no fault of anything, to jobs that are preempted, say.
MOST_LOSSES = 30


@dataclass
class Flight:
    """A group under way: `ahead` holds the predicted seconds of its cases that are not finished yet.

    `found`: an earlier coordinator gave it out. `what` says how far its worker is where that takes long.
    """

    task: Task
    ahead: dict[Case, float]
    curve: Spot | None = None
    place: Place | None = None
    since: str = ""
    found: bool = False
    what: str = ""


@dataclass
class Flights:
    """The groups under way by the id of their task, those that wait for a worker, and what was lost of each."""

    under_way: dict[str, Flight] = field(default_factory=dict)
    waiting: list[Flight] = field(default_factory=list)
    _lost: dict[str, list[Lost]] = field(default_factory=lambda: defaultdict(list))

    def __iter__(self) -> Iterator[Flight]:
        """All of them, those under way first."""
        yield from self.under_way.values()
        yield from self.waiting

    @property
    def ahead(self) -> float:
        """The predicted seconds of all that is not finished."""
        return sum(sum(flight.ahead.values()) for flight in self)

    @property
    def cases(self) -> int:
        """How many cases are not finished."""
        return sum(len(flight.ahead) for flight in self)

    def lost(self, flight: Flight, report: Lost) -> Flight | None:
        """The next attempt at a group that was lost, None where it has had all that it gets."""
        losses = self._lost[flight.task.group]
        losses.append(report)
        counted = sum(loss.counts for loss in losses)
        if counted >= MOST_ATTEMPTS or len(losses) >= MOST_LOSSES:
            return None
        task = flight.task.again(report.place or flight.place, last=counted == MOST_ATTEMPTS - 1)
        return Flight(task, flight.ahead, flight.curve)

    def why_lost(self, task: Task) -> str:
        """How the attempts at a group ended, in one sentence."""
        losses = self._lost[task.group]
        places = ", ".join(dict.fromkeys(str(loss.place) for loss in losses if loss.place is not None))
        where = f" (on {places})" if places else ""
        return f"its worker was lost {len(losses)} times{where}, the last time because {losses[-1].reason}"

    def note(self, task: Task) -> str | None:
        """What the records of a group should tell of earlier attempts at it; None where it is the first."""
        losses = self._lost.get(task.group)
        if not losses:
            return None
        where = "; ".join(
            f"{loss.reason}{'' if loss.place is None else f' (on {loss.place})'}" for loss in dict.fromkeys(losses)
        )
        return f"measured at attempt {task.attempt}, as the worker was lost before: {where}"

"""The processes that a sharded model runs in: what each of them took, and which one the others wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from pyprof.records import validate
from pyprof.statistics.estimate import CONFIDENCE, Estimate, estimate_median


@dataclass(frozen=True)
class Rank:
    """One process of a sharded model, on a device of its own; times are nanoseconds of one step.

    `samples` are its times in the rounds of a record's latency, whose samples are the slowest rank's in each. `steps`
    are further steps, which all ranks began together, and `communication` the part of each that the process spent in
    collectives and in waiting for them; both are empty where none were taken. On a device with a time of its own they
    are means over steps: what the device was at work, and of that its communication kernels. `peak_memory` is in bytes.
    """

    device: str
    samples: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    communication: tuple[int, ...] = ()
    peak_memory: int | None = None

    @property
    def work(self) -> tuple[int, ...]:
        """What is left of each step without the communication."""
        return tuple(whole - part for whole, part in zip(self.steps, self.communication, strict=True))

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rank:
        """Rebuild a rank; raises UsageError where a field is missing, unknown or damaged."""
        rank: Rank = validate.checked(RANK, data, "the rank")
        return rank


@dataclass(frozen=True)
class Waiting:
    """Which rank the others wait for: the one whose own work takes longest, where that is shown.

    `slowest` is its number, and `waits` has for every rank how many seconds it has left in a step until the slowest has
    done its work, with an interval where there were steps enough for one. It is `shown` where the interval of the rank
    that waits longest lies above zero.
    """

    slowest: int
    waits: tuple[Estimate, ...]

    @property
    def longest(self) -> Estimate:
        """The wait of the rank that waits longest."""
        return max(self.waits, key=lambda wait: wait.value)

    @property
    def shown(self) -> bool:
        """Whether the difference is more than noise."""
        return (self.longest.low or 0.0) > 0.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `slowest` is None where no rank is shown to be that."""
        waits = [asdict(wait) for wait in self.waits]
        return {"slowest": self.slowest if self.shown else None, "waits_seconds": waits}


def waiting(ranks: Sequence[Rank]) -> Waiting | None:
    """Which rank the others wait for; None where no steps tell.

    All ranks end a step at nearly the same time, since they wait for one another in collectives. So it is the work
    beside the communication that tells them apart, paired by step.
    """
    if len(ranks) < 2 or not all(rank.steps for rank in ranks):
        return None
    works = [rank.work for rank in ranks]
    slowest = max(range(len(ranks)), key=lambda number: median(works[number]))
    # Any pair of ranks could have been the one that differs most.
    confidence = 1 - (1 - CONFIDENCE) / (len(ranks) * (len(ranks) - 1) / 2)
    waits = tuple(
        estimate_median([(most - own) * 1e-9 for most, own in zip(works[slowest], work, strict=True)], confidence)
        for work in works
    )
    return Waiting(slowest, waits)


_nanoseconds = validate.listing(validate.whole(0))
RANK = validate.instance(
    Rank,
    device=validate.text,
    samples=_nanoseconds,
    steps=_nanoseconds,
    communication=_nanoseconds,
    peak_memory=validate.optional(validate.whole(0)),
)

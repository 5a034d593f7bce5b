"""Whether a run's times can be trusted: which cases other processes held up, and which ran on a slow machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pyprof.analysis.disturbance import CALM, MOST_LOST, disturbance
from pyprof.analysis.noise import RunNoise, SlowCase
from pyprof.records.case import Case
from pyprof.records.record import Record

Level = Literal["trust", "trust with care", "do not trust"]
# Where so many of the cases were held up, a reader would have to know which figures to skip.
_MANY = 0.25
# So many on a slow machine, or held up a little, are worth a word.
_SOME = 0.1


@dataclass(frozen=True)
class HeldUp:
    """A case, and the share of its time that may have been waits for other processes."""

    case: Case
    share: float


@dataclass(frozen=True)
class Trust:
    """How far the times of a run can be trusted, and why not further.

    Of the `cases` of which the system tells what they waited, `held_up` are those that waited so much that their times
    say nothing of them, `partly` those that waited for a smaller part, the worst first. `slow` are the cases that ran
    while the machine was slow, and `throttled` says that its clock was lowered.
    """

    level: Level
    cases: int
    held_up: tuple[HeldUp, ...] = ()
    partly: tuple[HeldUp, ...] = ()
    slow: tuple[SlowCase, ...] = ()
    throttled: bool = False


def trust(records: Iterable[Record], noise: RunNoise | None) -> Trust | None:
    """Judge a run by its records and what they say of the machine; None where they say nothing."""
    if noise is None:
        return None
    shares: dict[Case, float] = {}
    for record in records:
        told = [found.lost for reading in record.indicators.values() if (found := disturbance(reading)) is not None]
        if told:
            shares[record.case] = max(told)
    worst = [HeldUp(case, share) for case, share in sorted(shares.items(), key=lambda item: -item[1])]
    held_up = tuple(each for each in worst if each.share > MOST_LOST)
    partly = tuple(each for each in worst if CALM < each.share <= MOST_LOST)
    throttled = bool(noise.throttled)
    level: Level = "trust"
    if len(held_up) > _MANY * len(shares):
        level = "do not trust"
    elif held_up or throttled or len(partly) > _SOME * len(shares) or len(noise.slow) > _SOME * noise.cases:
        level = "trust with care"
    return Trust(level, len(shares), held_up, partly, noise.slow, throttled)

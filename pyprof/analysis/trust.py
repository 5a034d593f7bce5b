"""Whether a run's times can be trusted: which cases other processes held up, and which ran on a slow machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyprof.analysis.noise import RunNoise, SlowCase
from pyprof.records.case import Case
from pyprof.records.disturbance import disturbance
from pyprof.records.record import Record
from pyprof.records.trust import SOME, Level, level_of


@dataclass(frozen=True)
class HeldUp:
    """A case, and the share of its time that may have been waits for other processes."""

    case: Case
    share: float


@dataclass(frozen=True)
class Trust:
    """How far the times of a run can be trusted, and why not further.

    `cases` are those of which the system tells what they waited, the worst first. `slow` are the cases that ran while
    the machine was slow, and `throttled` says that its clock was lowered.
    """

    level: Level
    cases: tuple[HeldUp, ...] = ()
    slow: tuple[SlowCase, ...] = ()
    throttled: bool = False


def trust(records: Iterable[Record], noise: RunNoise | None, *, of_kept: bool = False) -> Trust | None:
    """Judge a run by its records and what they say of the machine; None where they say nothing.

    A report shows medians of all rounds as they are. With `of_kept` only the rounds that a gate would keep are judged,
    and what it would subtract is no part of the shares.
    """
    if noise is None:
        return None
    shares: dict[Case, float] = {}
    for record in records:
        found = [disturbance(reading) for reading in record.indicators.values()]
        if told := [each.lost if of_kept else each.typical for each in found if each is not None]:
            shares[record.case] = max(told)
    throttled = bool(noise.throttled)
    level = level_of(list(shares.values()))
    if level == "trust" and (throttled or len(noise.slow) > SOME * noise.cases):
        level = "trust with care"
    worst = sorted(shares.items(), key=lambda item: -item[1])
    return Trust(level, tuple(HeldUp(case, share) for case, share in worst), noise.slow, throttled)

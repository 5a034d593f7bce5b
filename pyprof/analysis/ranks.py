"""Models that are sharded over several processes: what each of these took, and which one the others wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pyprof.analysis.curves import Curves
from pyprof.records.ranks import Rank, Waiting, waiting


@dataclass(frozen=True)
class RankRow:
    """One rank of a case, medians in seconds of a step; None where that was not looked at.

    `step` is its own step, `communication` what of a step it spends in collectives and in waiting for others, and
    `work` the rest. `wait` is how long it has nothing to do in a step until the slowest rank has done its work, from
    `low` to `high`. `peak_memory` is in bytes.
    """

    number: int
    device: str
    step: float | None
    communication: float | None
    work: float | None
    wait: float | None
    low: float | None
    high: float | None
    peak_memory: int | None


@dataclass(frozen=True)
class RankedCase:
    """The ranks of one case; `slowest` is the number of the one that the others wait for, up to `longest` seconds a
    step, None where no rank is shown to be that.
    """

    model: str
    how: str
    mode: str
    length: int
    rows: tuple[RankRow, ...]
    slowest: int | None
    longest: float | None


def ranked_cases(curves: Curves) -> tuple[RankedCase, ...]:
    """The cases of sharded models, curve by curve."""
    cases = []
    for record in curves.records:
        if record.ranks:
            case, told = record.case, waiting(record.ranks)
            slowest, longest = slowest_of(told)
            rows = rank_rows(record.ranks, told)
            cases.append(RankedCase(case.model, case.how, case.mode, case.length, rows, slowest, longest))
    return tuple(cases)


def rank_rows(ranks: Sequence[Rank], told: Waiting | None) -> tuple[RankRow, ...]:
    """A row for each rank; `told` is what `waiting` says of them."""
    return tuple(
        RankRow(
            number,
            rank.device,
            _seconds(rank.samples or rank.steps),
            _seconds(rank.communication),
            _seconds(rank.work),
            None if told is None else told.waits[number].value,
            None if told is None else told.waits[number].low,
            None if told is None else told.waits[number].high,
            rank.peak_memory,
        )
        for number, rank in enumerate(ranks)
    )


def slowest_of(told: Waiting | None) -> tuple[int | None, float | None]:
    """The slowest rank and how long others wait for it at most, where that is shown."""
    return (told.slowest, told.longest.value) if told is not None and told.shown else (None, None)


def _seconds(nanoseconds: Sequence[int]) -> float | None:
    return median(nanoseconds) * 1e-9 if nanoseconds else None

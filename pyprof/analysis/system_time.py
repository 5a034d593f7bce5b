"""What the system takes of a step: page faults, and the share of the processor time that goes to handing out memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from pyprof.records.case import Case
from pyprof.records.noise import SystemPart, SystemTime
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds

# A case ran while memory was dear if a page fault typically took this many times as long as in the run's cheapest
# readings, of which one in twenty counts as the cheapest.
DEAR = 1.5
_CHEAPEST = 0.05


@dataclass(frozen=True)
class SystemShare:
    """A case in which the system handed out memory, and the `part` of a step that it took.

    `kinds` are the parts of the faults by kind of layer where these were counted (of 1).
    """

    case: Case
    part: SystemPart
    kinds: Mapping[str, float]


@dataclass(frozen=True)
class SystemSummary:
    """What a run tells of the system's part: the cases that it took much of, the largest share first.

    `dearest` is the price of a page fault in its dearest readings by that in its cheapest, None where it was not
    measured; `dear` are the cases that ran while it typically was above `DEAR`, of `measured` ones.
    """

    shares: tuple[SystemShare, ...]
    dearest: float | None = None
    dear: tuple[Case, ...] = ()
    measured: int = 0


def system_time(records: Iterable[Record]) -> SystemSummary | None:
    """The summary of a run; None where its records tell nothing of the system's part."""
    told: list[tuple[Record, Rounds]] = []
    for record in records:
        rounds = next((reading.rounds for reading in record.indicators.values() if reading.rounds is not None), None)
        if rounds is not None and rounds.faults:
            told.append((record, rounds))
    if not told:
        return None
    shares = [share for record, rounds in told if (share := _share(record, rounds)) is not None]
    shares.sort(key=lambda share: -share.part.share)
    prices = {rounds.id: rounds.page_faults for _, rounds in told if rounds.page_faults}
    every = sorted(price for some in prices.values() for price in some)
    if not every:
        return SystemSummary(tuple(shares))
    cheapest = every[int(_CHEAPEST * (len(every) - 1))]
    dear = {key for key, some in prices.items() if median(some) > DEAR * cheapest}
    return SystemSummary(
        shares=tuple(shares),
        dearest=every[-1 - int(_CHEAPEST * (len(every) - 1))] / cheapest,
        dear=tuple(record.case for record, rounds in told if rounds.id in dear),
        measured=sum(bool(rounds.page_faults) for _, rounds in told),
    )


def _share(record: Record, rounds: Rounds) -> SystemShare | None:
    """The system's part of one case, None where it is hardly any."""
    part = SystemPart.of(list(map(SystemTime, rounds.faults, rounds.system, rounds.processor)))
    if part is None or not part.is_much:
        return None
    by_kind = {kind: cost.faults for kind, cost in record.kinds.items() if cost.faults}
    total = sum(by_kind.values())
    ordered = sorted(by_kind.items(), key=lambda item: -item[1])
    return SystemShare(record.case, part, {kind: count / total for kind, count in ordered})

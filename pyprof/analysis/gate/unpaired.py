"""What only one of two runs measured: cases, and metrics of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pyprof.failures import Status
from pyprof.records.case import Case
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record

# What ended by itself; a case that was skipped was never tried.
FAILURES: tuple[Status, ...] = ("error", "oom", "timeout")


@dataclass(frozen=True)
class Unpaired:
    """A case, or one of its metrics, that only one run measured; a status is None where the run lacks the case.

    broken: it failed in the head only. lost: the head has not tried it, or lacks the metric. mended, new: the reverse.
    """

    case: Case
    kind: Literal["broken", "lost", "mended", "new"]
    baseline: Status | None
    head: Status | None
    indicator: IndicatorFacts | None = None
    reason: str | None = None


def unpaired(
    baseline: Mapping[str, Record], head: Mapping[str, Record], indicators: Sequence[IndicatorFacts]
) -> Iterator[Unpaired]:
    """All that only one of the runs measured, of their records by key; what neither did is left out."""
    for key in dict.fromkeys((*baseline, *head)):
        before, after = baseline.get(key), head.get(key)
        was = None if before is None else before.status
        now = None if after is None else after.status
        if before is not None and after is not None and was == now == "ok":
            yield from _indicators(before, after, indicators)
        elif before is not None and was == "ok":
            kind: Literal["broken", "lost"] = "broken" if now in FAILURES else "lost"
            yield Unpaired(before.case, kind, was, now, None, _reason(after))
        elif after is not None and now == "ok":
            yield Unpaired(after.case, "mended" if was in FAILURES else "new", was, now, None, _reason(before))


def _indicators(before: Record, after: Record, indicators: Sequence[IndicatorFacts]) -> Iterator[Unpaired]:
    """The indicators that only one of two measured records has."""
    for indicator in indicators:
        ours, theirs = before.indicators.get(indicator.name), after.indicators.get(indicator.name)
        if _has(ours) and not _has(theirs):
            yield Unpaired(before.case, "lost", "ok", "ok", indicator, _reason(theirs))
        elif _has(theirs) and not _has(ours):
            yield Unpaired(before.case, "new", "ok", "ok", indicator, _reason(ours))


def _has(reading: Reading | None) -> bool:
    return reading is not None and bool(reading.value)


def _reason(of: Record | Reading | None) -> str | None:
    return None if of is None else of.reason

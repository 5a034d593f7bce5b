"""What only one of two runs measured: cases, and metrics of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from pyprof.failures import Status
from pyprof.records.case import Case
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record

# What ended by itself; a case that was skipped was never tried.
FAILURES: tuple[Status, ...] = ("error", "oom", "timeout")

Kind = Literal["broken", "lost", "mended", "new"]


@dataclass(frozen=True)
class Unpaired:
    """A case, or one of its metrics, that only one run measured; a status is None where the run lacks the case.

    broken: it failed in the head only. lost: the head has not tried it, or lacks the metric. mended, new: the reverse.
    `allowed`: the head may lack it, by its name.
    """

    case: Case
    kind: Kind
    baseline: Status | None
    head: Status | None
    indicator: IndicatorFacts | None = None
    reason: str | None = None
    allowed: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether the head lacks what the baseline measured, and may not."""
        return self.kind in ("broken", "lost") and not self.allowed


def is_named(case: Case, pattern: str) -> bool:
    """Whether a pattern (with `*`, `?` and `[...]`) names a case, by its model or as reports and messages write it."""
    short = f"{case.model} {case.how}"
    names = {case.model, short, str(case)}
    for length in (f"{case.length}", f"{case.length:,}"):
        names |= {f"{short} {length} {case.mode}", f"{short} {case.mode} {length}", f"{short} {length}, {case.mode}"}
    return any(fnmatchcase(name, pattern) for name in names)


def unpaired(
    baseline: Mapping[str, Record],
    head: Mapping[str, Record],
    indicators: Sequence[IndicatorFacts],
    may_lack: Sequence[str] = (),
) -> Iterator[Unpaired]:
    """All that only one of the runs measured, of their records by key; what neither did is left out.

    What the head `may_lack` are patterns for `is_named`.
    """
    for key in dict.fromkeys((*baseline, *head)):
        before, after = baseline.get(key), head.get(key)
        was = None if before is None else before.status
        now = None if after is None else after.status
        allowed = before is not None and any(is_named(before.case, pattern) for pattern in may_lack)
        if before is not None and after is not None and was == now == "ok":
            yield from _indicators(before, after, indicators, allowed)
        elif before is not None and was == "ok":
            kind: Kind = "broken" if now in FAILURES else "lost"
            yield Unpaired(before.case, kind, was, now, None, _reason(after), allowed)
        elif after is not None and now == "ok":
            yield Unpaired(after.case, "mended" if was in FAILURES else "new", was, now, None, _reason(before))


def _indicators(
    before: Record, after: Record, indicators: Sequence[IndicatorFacts], allowed: bool
) -> Iterator[Unpaired]:
    """The indicators that only one of two measured records has."""
    for indicator in indicators:
        ours, theirs = before.indicators.get(indicator.name), after.indicators.get(indicator.name)
        if _has(ours) and not _has(theirs):
            yield Unpaired(before.case, "lost", "ok", "ok", indicator, _reason(theirs), allowed)
        elif _has(theirs) and not _has(ours):
            yield Unpaired(before.case, "new", "ok", "ok", indicator, _reason(ours))


def _has(reading: Reading | None) -> bool:
    return reading is not None and bool(reading.value)


def _reason(of: Record | Reading | None) -> str | None:
    return None if of is None else of.reason

"""What was not measured, and why: a few lines for any number of cases."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from pyprof.analysis.curves import Curves, subject
from pyprof.failures import NO_TIME, NOT_NEEDED, STATUSES, TIME_IS_UP
from pyprof.records.case import Batch
from pyprof.records.comparison import ModelFacts
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.record import Record


@dataclass(frozen=True)
class Omission:
    """Cases that gave no figure for the same reason.

    `metric` is None where the whole case is missing, otherwise the indicator that could not be measured, whose title is
    `title`. `reason` is the reason of the first case; `alike` says that the others' differ from it in their numbers
    only. `subjects` are models with their attention implementations, `batch` is a number of examples or "largest",
    `shortest` and `longest` bound the lengths.
    """

    status: str
    metric: str | None
    reason: str
    alike: bool
    mode: str
    batch: Batch
    modality: str
    unit: str
    subjects: tuple[str, ...]
    shortest: int
    longest: int
    cases: int
    title: str | None = None


@dataclass(frozen=True)
class Note:
    """What was noted on some measured cases, in the words of the first; `alike` as in an omission."""

    text: str
    alike: bool
    cases: int


def omitted(
    curves: Curves, facts: Mapping[str, ModelFacts], indicators: Sequence[IndicatorFacts] = ()
) -> tuple[Omission, ...]:
    """All that is missing in a run, grouped by status, reason (its numbers apart), mode, batch and modality."""
    groups: dict[Hashable, list[tuple[Record, str | None, str]]] = {}
    for record in curves.records:
        case, fact = record.case, facts.get(record.case.model, ModelFacts())
        for metric, reason in _missing(record):
            key = (record.status, metric, _skeleton(reason), case.mode, case.batch, fact.modality, fact.unit)
            groups.setdefault(key, []).append((record, metric, reason))
    ordered = sorted(groups.values(), key=lambda group: (STATUSES.index(group[0][0].status), -len(group)))
    titles = {indicator.name: indicator.title for indicator in indicators}
    return tuple(_omission(group, facts, titles) for group in ordered)


def outcome(status: str, reason: str | None) -> str:
    """The status of a case, of a skipped one why: not needed (the answer is known without it), or no time."""
    if status != "skipped" or reason is None:
        return status
    return NOT_NEEDED if reason.startswith(NOT_NEEDED) else NO_TIME if TIME_IS_UP in reason else status


def notes(curves: Curves) -> tuple[Note, ...]:
    """What was noted on cases, each note once, the most frequent first."""
    groups: dict[str, list[str]] = {}
    for record in curves.records:
        for note in record.notes:
            groups.setdefault(_skeleton(note), []).append(note)
    distinct = [Note(texts[0], len(set(texts)) > 1, len(texts)) for texts in groups.values()]
    return tuple(sorted(distinct, key=lambda note: -note.cases))


# A number with the unit behind it, and a sequence of such, as in "8 min 44 s".
_NUMBERS = re.compile(r"(?:\d[\d.,]*(?:\s?(?:ns|µs|ms|s|min|h|[kMGT]i?B|[KMGT]iB|B|[kMGT])\b)?\s?)+")


def _skeleton(reason: str) -> str:
    """A text without its numbers."""
    return _NUMBERS.sub("# ", reason)


def _missing(record: Record) -> list[tuple[str | None, str]]:
    if record.status != "ok":
        return [(None, record.reason or "no reason was given")]
    readings = record.indicators.items()
    return [(name, reading.reason or "no reason was given") for name, reading in readings if reading.value is None]


def _omission(
    group: Sequence[tuple[Record, str | None, str]], facts: Mapping[str, ModelFacts], titles: Mapping[str, str]
) -> Omission:
    first, metric, reason = group[0]
    fact = facts.get(first.case.model, ModelFacts())
    lengths = [record.case.length for record, _, _ in group]
    return Omission(
        status=first.status,
        metric=metric,
        reason=reason,
        alike=len({reason for _, _, reason in group}) > 1,
        mode=first.case.mode,
        batch=first.case.batch,
        modality=fact.modality,
        unit=fact.unit,
        subjects=tuple(dict.fromkeys(str(subject(record)) for record, _, _ in group)),
        shortest=min(lengths),
        longest=max(lengths),
        cases=len(group),
        title=None if metric is None else titles.get(metric, metric),
    )

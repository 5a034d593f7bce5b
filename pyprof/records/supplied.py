"""Qualities that a user supplies: a table with a row for each model, beside what a run has measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyprof.errors import UsageError
from pyprof.failures import said_of_file
from pyprof.names import nearest
from pyprof.plain import shown
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.run_directory import Run

_MODEL = "model"
_LOWER = ":lower"
_BOUNDS = ("_low", "_high")
# Behind all that a run measures, but for what is worked out of it.
_PLACE = 80


@dataclass(frozen=True)
class Supplied:
    """What a table says: its indicators, and their readings by model and name."""

    indicators: tuple[IndicatorFacts, ...]
    readings: Mapping[str, Mapping[str, Reading]]


def read_supplied(path: Path) -> Supplied:
    """Read a CSV file with a header: `model`, and a column for each quality, of which higher is better.

    ``name:lower`` heads a column of which lower is better; ``name_low`` and ``name_high`` are the bounds of its 95 %
    interval. An empty field is a figure that nobody has. Raises UsageError with the reason where it is no such table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[field.strip() for field in row] for row in csv.reader(file, strict=True) if any(row)]
    except OSError as error:
        raise UsageError(said_of_file(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{shown(str(path))} is no CSV file in UTF-8: check it") from error
    heads = rows[0] if rows else []
    if _MODEL not in heads or len(heads) < 2 or len(set(heads)) < len(heads):
        raise UsageError(
            f"{shown(str(path))} has no table of qualities: its first line names the columns, such as model,accuracy"
        )
    indicators = tuple(_indicators(path, heads))
    readings: dict[str, dict[str, Reading]] = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(heads):
            raise UsageError(f"{shown(str(path))} has {len(row)} fields in row {number} under {len(heads)} heads")
        fields = dict(zip(heads, row, strict=True))
        if fields[_MODEL] in readings:
            raise UsageError(f"{shown(str(path))} names {shown(fields[_MODEL])} twice: leave one of the rows")
        readings[fields[_MODEL]] = {each.name: _reading(path, each, fields) for each in indicators}
    return Supplied(indicators, readings)


def with_supplied(run: Run, supplied: Supplied) -> Run:
    """The same run with what the table says of its models; nothing is written.

    Raises UsageError for a model that the run has not, and for an indicator that it has.
    """
    models = {record.case.model for record in run.records.values()} | set(run.resolved.models)
    for model in supplied.readings:
        if model not in models:
            raise UsageError(f"the run has no model {shown(model)}: {nearest(model, sorted(models))}")
    known = {each.name for each in run.resolved.indicators}
    for each in supplied.indicators:
        if each.name in known:
            raise UsageError(f"the run has an indicator {each.name!r} already: name the column otherwise")
    indicators = sorted((*run.resolved.indicators, *supplied.indicators), key=lambda each: (each.place, each.name))
    return replace(
        run,
        resolved=replace(run.resolved, indicators=tuple(indicators)),
        records={key: _supplied(record, supplied) for key, record in run.records.items()},
    )


def _supplied(record: Record, supplied: Supplied) -> Record:
    if record.status != "ok" or record.case.batch == "largest":
        return record
    missing = {each.name: _unsupplied(each.name) for each in supplied.indicators}
    return replace(record, indicators={**record.indicators, **missing, **supplied.readings.get(record.case.model, {})})


def _indicators(path: Path, heads: Sequence[str]) -> Iterator[IndicatorFacts]:
    names = [head.removesuffix(_LOWER) for head in heads]
    for head, name in zip(heads, names, strict=True):
        if name == _MODEL or any(name.endswith(end) and name.removesuffix(end) in names for end in _BOUNDS):
            continue
        if not name.isidentifier():
            raise UsageError(f"{shown(str(path))} has a column {shown(head)}: name it by letters, digits and _")
        yield IndicatorFacts(
            name=name,
            title=name.replace("_", " ").capitalize(),
            unit="1",
            better="lower" if head.endswith(_LOWER) else "higher",
            meaning=f"the {name} that {path.name} says",
            source=path.name,
            exact=not all(f"{name}{end}" in names for end in _BOUNDS),
            varies_with_length=False,
            place=_PLACE,
        )


def _reading(path: Path, indicator: IndicatorFacts, fields: Mapping[str, str]) -> Reading:
    name = indicator.name
    values = []
    for head in (name, f"{name}_low", f"{name}_high"):
        text = fields.get(head, fields.get(f"{head}{_LOWER}", ""))
        try:
            value = float(text) if text else None
        except ValueError:
            value = math.nan
        if value is not None and not math.isfinite(value):
            raise UsageError(f"{shown(str(path))} says {shown(text)} as {name} of {shown(fields[_MODEL])}: no number")
        values.append(value)
    value, low, high = values
    if value is None:
        return _unsupplied(name)
    if low is None or high is None:
        return Reading(value)
    if not low <= value <= high:
        raise UsageError(f"{shown(str(path))} has a {name} of {shown(fields[_MODEL])} outside of its interval")
    return Reading(value, low, high)


def _unsupplied(name: str) -> Reading:
    return Reading(None, reason=f"nobody has supplied the {name}")

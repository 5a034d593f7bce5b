"""A run as frames: its records, what the kinds of their layers cost, and their single layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.plain import shown
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.frame import Column, ColumnType, Frame
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import KindCost, Record

if TYPE_CHECKING:
    from pyprof.records.run_directory import Run

TableName = Literal["records", "kinds", "layers"]

# Units in the names of columns: the others are spelled as they are written, "J" as "j".
_UNITS = {"s": "seconds", "B": "bytes", "1": "", "%": "percent", "J": "joules", "W": "watts", "Hz": "hertz"}
_IDENTITY = ("model", "length", "mode", "attention", "size", "batch")
_CASE: Mapping[str, ColumnType] = {"length": "integer", "batch": "integer", "compiled": "truth"}
_LAYER: Mapping[str, ColumnType] = {"parent": "integer", "parameters": "integer", "calls": "number"}


def records_frame(run: Run) -> Frame:
    """One row for each record, in the order of the run, with the case, its status and every indicator's reading."""
    records = list(run.records.values())
    columns = [Column.of("key", [record.case.key for record in records])]
    columns += [_of_case(records, each.name) for each in fields(Case)]
    columns.append(Column.of("largest_batch", [record.case.batch == "largest" for record in records], "truth"))
    facts = [run.resolved.models.get(record.case.model, ModelFacts()) for record in records]
    for name, fact in (("modality", "modality"), ("length_unit", "unit"), ("family", "family"), ("vanilla", "vanilla")):
        columns.append(Column.of(name, [getattr(each, fact) for each in facts]))
    columns.append(Column.of("attention_ran", [record.attention for record in records]))
    columns += [Column.of(name, [getattr(record, name) for record in records]) for name in ("status", "reason")]
    for indicator in _indicators(run, records):
        columns += _of_indicator(indicator, records)
    for name in ("step_seconds", "outside_seconds"):
        columns.append(Column.of(name, [getattr(record, name) for record in records], "number"))
    for name, bound in (("overhead_ratio", "value"), ("overhead_ratio_low", "low"), ("overhead_ratio_high", "high")):
        columns.append(Column.of(name, [getattr(record.overhead, bound, None) for record in records], "number"))
    columns.append(Column.of("notes", ["\n".join(record.notes) or None for record in records]))
    columns += [Column.of(name, [getattr(record, name) for record in records]) for name in ("environment", "started")]
    columns.append(Column.of("case_seconds", [record.seconds for record in records], "number"))
    if any(record.place is not None for record in records):
        for name in ("machine", "device", "attempt"):
            places = [getattr(record.place, name, None) for record in records]
            columns.append(Column.of(f"worker_{name}", places, "integer" if name == "attempt" else "text"))
    return Frame.of(columns)


def kinds_frame(run: Run) -> Frame:
    """One row for each kind of layer of each record: what all of its layers cost together, by their own times."""
    rows = [(record, kind, cost) for record in run.records.values() for kind, cost in record.kinds.items()]
    columns = _identity([record for record, _, _ in rows])
    columns.append(Column.of("kind", [kind for _, kind, _ in rows]))
    for each in fields(KindCost):
        expected: ColumnType = "number" if each.name.endswith("_seconds") else "integer"
        columns.append(Column.of(each.name, [getattr(cost, each.name) for _, _, cost in rows], expected))
    return Frame.of(columns)


def layers_frame(run: Run) -> Frame:
    """One row for each layer of each case that has its layers, root first; `layer` is its place, as `parent` counts."""
    from pyprof.records.run_directory import layers_of

    every = dict(layers_of(run.directory, run.records))
    records: list[Record] = []
    places: list[int] = []
    values: dict[str, list[Any]] = {}
    for key, record in run.records.items():
        layers = every.get(key, {})
        count = len(next(iter(layers.values()), ()))
        for name, column in layers.items():
            values.setdefault(name, [None] * len(records)).extend(column)
        for column in (values[name] for name in values.keys() - layers.keys()):
            column.extend([None] * count)
        records += [record] * count
        places += range(count)
    columns = [*_identity(records), Column.of("layer", places, "integer")]
    for name, column in values.items():
        expected: ColumnType = "number" if name.endswith("_seconds") else _LAYER.get(name, "text")
        columns.append(Column.of(name, column, expected))
    return Frame.of(columns)


_FRAMES: Mapping[TableName, Callable[[Run], Frame]] = {
    "records": records_frame,
    "kinds": kinds_frame,
    "layers": layers_frame,
}


TABLES = tuple(_FRAMES)


def frame_of(run: Run, table: TableName) -> Frame:
    """A table of a run; raises UsageError for a name that is none."""
    if table not in _FRAMES:
        raise UsageError(f"a run has no table {shown(table)}: {nearest(str(table), _FRAMES)}")
    return _FRAMES[table](run)


def _of_case(records: list[Record], name: str) -> Column:
    """A field of the case; the batch is a number, that of the largest one where it was found."""
    values = (getattr(record.case, name) for record in records)
    if name == "batch":
        values = (_batch(record) for record in records)
    return Column.of(name, values, _CASE.get(name, "text"))


def _batch(record: Record) -> int | None:
    if record.case.batch != "largest":
        return record.case.batch
    found = (reading.detail.get("batch") for reading in record.indicators.values())
    return next((batch for batch in found if batch is not None), None)


def _identity(records: list[Record]) -> list[Column]:
    """What tells the rows of one case from those of another; the rest is in the records, under the same key."""
    return [Column.of("key", [record.case.key for record in records]), *(_of_case(records, name) for name in _IDENTITY)]


def _indicators(run: Run, records: list[Record]) -> Iterator[IndicatorFacts]:
    """The run's indicators, and those that only records know, whose unit nobody has written down."""
    known = {indicator.name: indicator for indicator in run.resolved.indicators}
    yield from known.values()
    others = dict.fromkeys(name for record in records for name in record.indicators if name not in known)
    for name in others:
        yield IndicatorFacts(name=name, title=name, unit="1", better="lower", meaning="", source="")


def _of_indicator(indicator: IndicatorFacts, records: list[Record]) -> Iterator[Column]:
    readings = [record.indicators.get(indicator.name) for record in records]
    name = f"{indicator.name}_{_unit(indicator.unit)}".rstrip("_")

    def of(read: Callable[[Reading], Any]) -> list[Any]:
        return [None if reading is None else read(reading) for reading in readings]

    yield Column.of(name, of(lambda reading: reading.value), "number")
    if not indicator.exact:
        yield Column.of(f"{name}_low", of(lambda reading: reading.low), "number")
        yield Column.of(f"{name}_high", of(lambda reading: reading.high), "number")
        yield Column.of(f"{indicator.name}_samples", of(lambda reading: len(reading.samples)), "integer")
    yield Column.of(f"{indicator.name}_reason", of(lambda reading: reading.reason))
    for detail in dict.fromkeys(key for reading in readings if reading for key in reading.detail):
        values = (None if reading is None else reading.detail.get(detail) for reading in readings)
        yield Column.of(f"{indicator.name}_detail_{detail}", values)


def _unit(unit: str) -> str:
    """A unit as a part of a name: "examples/s" is examples_per_second."""
    parts = unit.split("/")
    words = [_UNITS.get(part.strip(), part) for part in parts]
    words[1:] = [word.removesuffix("s") if word == "seconds" else word for word in words[1:]]
    return re.sub(r"\W+", "_", "_per_".join(words).lower()).strip("_")

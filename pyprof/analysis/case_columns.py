"""All cases of a run as one table, column by column: what was asked for, what became of it, and every figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from pyprof.analysis.curves import Curves
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.record import Record

_ASKED = tuple(each.name for each in fields(Case))

CaseColumns = Mapping[str, Sequence[Any]]


def case_columns(curves: Curves, facts: Mapping[str, ModelFacts], indicators: Sequence[IndicatorFacts]) -> CaseColumns:
    """The cases in the order of their curves; every indicator has its name's column, and one with _low and _high.

    `attention` is the implementation that a case asked for. A figure that is missing is None. `reason` is why a case
    gave nothing; `samples` counts those of its latency, or of its first figure that has any; `seconds` is what the case
    took with its set-up. `overhead` is by which factor probes lengthened its step. Where a run had several workers,
    `place` is the device and the machine.
    """
    records = list(curves.records)
    columns: dict[str, list[Any]] = {"key": [record.case.key for record in records]}
    units = [facts.get(record.case.model, ModelFacts()) for record in records]
    columns["modality"] = [fact.modality for fact in units]
    columns["unit"] = [fact.unit for fact in units]
    for name in _ASKED:
        columns[name] = [getattr(record.case, name) for record in records]
    columns["status"] = [record.status for record in records]
    columns["reason"] = [record.reason for record in records]
    for indicator in indicators:
        readings = [record.indicators.get(indicator.name) for record in records]
        if any(reading is not None for reading in readings):
            columns[indicator.name] = [None if reading is None else reading.value for reading in readings]
            if not indicator.exact:
                columns[f"{indicator.name}_low"] = [None if reading is None else reading.low for reading in readings]
                columns[f"{indicator.name}_high"] = [None if reading is None else reading.high for reading in readings]
    columns["samples"] = list(_samples(records))
    columns["overhead"] = [None if record.overhead is None else record.overhead.value for record in records]
    columns["seconds"] = [record.seconds for record in records]
    columns["started"] = [record.started for record in records]
    columns["environment"] = [record.environment for record in records]
    if any(record.place is not None for record in records):
        columns["place"] = [None if record.place is None else str(record.place) for record in records]
    return columns


def _samples(records: Iterable[Record]) -> Iterable[int]:
    for record in records:
        latency = record.indicators.get("latency")
        readings = record.indicators.values() if latency is None else (latency,)
        yield next((len(reading.samples) for reading in readings if reading.samples), 0)

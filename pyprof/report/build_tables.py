"""The tables of a view: each metric over length, and the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyprof.analysis.curves import Curve, Curves, Setting, Subject, describe, distinguishing
from pyprof.analysis.ratio import COUNTED_UNITS
from pyprof.analysis.shares import rank
from pyprof.analysis.tipping_points import METRICS, TippingPoint
from pyprof.indicators.registry import INDICATORS
from pyprof.records.case import MODES
from pyprof.records.comparison import ModelFacts
from pyprof.records.record import Record
from pyprof.report.view import Cell, Column, ModelLine, Table, TableRow

BRIEF = {"latency": 8}
BRIEF_OTHERS = 5

Look = tuple[str, str, Setting, str]


@dataclass(frozen=True)
class Part:
    """The curves of one modality; `facts` of all models."""

    name: str
    unit: str
    curves: Curves
    facts: Mapping[str, ModelFacts]

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """Everything that was to be measured: vanilla models first, then by name; a model's best attention last."""
        return tuple(sorted({one for one, _ in self.curves.all}, key=self._rank))

    def column(self, one: Subject) -> Column:
        """The heading of a subject."""
        return Column(one.model, one.attention, one.weights, self.fact(one).vanilla is None)

    def words(self, one: Setting) -> str:
        """What tells a setting from the others of this modality, in words."""
        return describe(one, self._naming)

    @cached_property
    def _naming(self) -> tuple[str, ...]:
        return distinguishing(setting for _, setting in self.curves.all)

    def fact(self, one: Subject) -> ModelFacts:
        """What is known of a subject's model."""
        return self.facts.get(one.model, ModelFacts())

    def _rank(self, one: Subject) -> tuple[bool, str, int, str, str]:
        attentions = self.fact(one).attentions
        best = -attentions.index(one.attention) if one.attention in attentions else -len(attentions)
        return self.fact(one).vanilla is not None, one.model, best, one.attention, one.weights or ""


def tables(part: Part, points: Sequence[TippingPoint]) -> tuple[Table, ...]:
    """A table for every metric over length, mode and setting that has a figure, in the order of the indicators."""
    groups: dict[Setting, dict[Subject, Curve]] = {}
    for one in part.subjects:
        for (subject, setting), curve in part.curves.all.items():
            if subject == one:
                groups.setdefault(setting, {})[one] = curve
    looks = _looks(points)
    found = []
    for metric in METRICS:
        for mode in MODES:
            for setting, curves in groups.items():
                measured = (metric in record.indicators for curve in curves.values() for record in curve.values())
                if setting.mode == mode and any(measured):
                    found.append(_Builder(part, metric, setting, curves, looks).table())
    return tuple(found)


def _looks(points: Iterable[TippingPoint]) -> dict[Look, list[TippingPoint]]:
    """The tipping points by their variant, setting and metric."""
    found: dict[Look, list[TippingPoint]] = {}
    for point in points:
        comparison = point.comparison
        look = (comparison.variant, comparison.variant_attention, point.setting, point.metric)
        found.setdefault(look, []).append(point)
    return found


@dataclass(frozen=True)
class _Builder:
    """What one table is built from."""

    part: Part
    metric: str
    setting: Setting
    curves: Mapping[Subject, Curve]
    looks: Mapping[Look, Sequence[TippingPoint]]

    def table(self) -> Table:
        """The table; its brief rows hold those on both sides of every tipping point."""
        lengths = sorted({length for curve in self.curves.values() for length in curve})
        points = [point for one in self.curves for point in self._points(one)]
        columns = [self._cells(one, lengths) for one in self.curves]
        unit = INDICATORS[self.metric].unit
        shown = [any(cell.value is not None for cell in row) for row in zip(*columns, strict=True)]
        measured = [index for index, has in enumerate(shown) if has]
        chosen = brief(
            [lengths[index] for index in measured],
            BRIEF.get(self.metric, BRIEF_OTHERS),
            {one.tipping.crossing.length for one in points if one.tipping.crossing},
        )
        return Table(
            metric=self.metric,
            unit=unit,
            length_unit=self.part.unit,
            mode=self.setting.mode,
            setting=self.part.words(self.setting),
            counted=unit in COUNTED_UNITS,
            columns=tuple(self.part.column(one) for one in self.curves),
            compared=tuple(len(self._points(one)) for one in self.curves),
            rows=tuple(
                TableRow(length, cells) for length, cells in zip(lengths, zip(*columns, strict=True), strict=True)
            ),
            brief=tuple(measured[index] for index in chosen),
        )

    def _points(self, one: Subject) -> Sequence[TippingPoint]:
        return self.looks.get((one.model, one.attention, self.setting, self.metric), ())

    def _cells(self, one: Subject, lengths: Sequence[int]) -> list[Cell]:
        curve, cheaper = self.curves[one], dict[int, tuple[str, ...]]()
        for point in self._points(one):
            for ratio in point.points:
                if ratio.high is not None and ratio.high < 1:
                    cheaper[ratio.length] = (*cheaper.get(ratio.length, ()), point.comparison.name)
        return [self._cell(curve.get(length), cheaper.get(length, ())) for length in lengths]

    def _cell(self, record: Record | None, cheaper: tuple[str, ...]) -> Cell:
        if record is None:
            return Cell()
        reading = record.indicators.get(self.metric)
        if reading is None or reading.value is None:
            return Cell(status=record.status if record.status != "ok" else None if reading is None else "none")
        # The readings of each round are for the analysis; a report's reader finds what they amount to in its summary.
        detail = {name: value for name, value in reading.detail.items() if not isinstance(value, (list, tuple, dict))}
        return Cell(reading.value, reading.low, reading.high, record.status, cheaper, detail or None)


def model_lines(part: Part) -> tuple[ModelLine, ...]:
    """The parameters of everything that was measured."""
    by_subject: dict[Subject, list[Record]] = {}
    for (one, _), curve in part.curves.ok.items():
        by_subject.setdefault(one, []).extend(curve.values())
    return tuple(_model_line(part, one, by_subject[one]) for one in part.subjects if one in by_subject)


def _model_line(part: Part, one: Subject, records: Sequence[Record]) -> ModelLine:
    readings = [record.indicators["parameters"].value for record in records if "parameters" in record.indicators]
    counts = [round(value) for value in readings if value is not None]
    kinds = next((record.kinds for record in records if record.kinds), {})
    total = sum(cost.parameters for cost in kinds.values())
    owned = {kind: kinds[kind].parameters / total for kind in sorted(kinds, key=rank) if kinds[kind].parameters}
    fewest, most = (min(counts), max(counts)) if counts else (None, None)
    return ModelLine(part.column(one), part.fact(one).family, fewest, most, owned)


def brief(lengths: Sequence[int], count: int, wanted: Iterable[float] = ()) -> tuple[int, ...]:
    """The indices of the lengths that a short print shows, at most `count` and what is next to a wanted length.

    They are evenly spaced on a logarithmic axis, both ends among them; around each wanted length one on either side.
    """
    if len(lengths) <= count:
        return tuple(range(len(lengths)))
    low, high = math.log(lengths[0]), math.log(lengths[-1])
    targets = [math.exp(low + (high - low) * step / (count - 1)) for step in range(count)]
    chosen = {min(range(len(lengths)), key=lambda index: abs(lengths[index] - target)) for target in targets}
    for length in wanted:
        after = next((index for index, one in enumerate(lengths) if one >= length), len(lengths) - 1)
        chosen |= {max(after - 1, 0), after}
    return tuple(sorted(chosen))

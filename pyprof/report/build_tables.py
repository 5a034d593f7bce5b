"""The tables of a view: each metric over length, and the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyprof.analysis.curves import Curve, Curves, Setting, describe, distinguishing
from pyprof.analysis.shares import rank
from pyprof.analysis.tipping_points import TippingPoint
from pyprof.records.case import MODES
from pyprof.records.comparison import ModelFacts, Subject
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.published import DataSet, ShareFinding, TippingFinding
from pyprof.records.record import PARAMETERS, Record
from pyprof.records.resolved import Resolved
from pyprof.report.view import Cell, Column, FixedFigure, ModelLine, Table, TableRow

# As many lengths a short print shows.
BRIEF_HEADLINE, BRIEF_OTHERS = 8, 5

# A variant, its implementation, a setting and an indicator's name.
Place = tuple[str, str, Setting, str]


@dataclass(frozen=True)
class Part:
    """The curves of one modality, and what the run's study resolved."""

    name: str
    unit: str
    curves: Curves
    resolved: Resolved

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

    def words_beside_comparison(self, one: Setting) -> str:
        """The same where the comparison is named, which has one allocator."""
        return describe(one, [name for name in self._naming if name != "allocator"])

    @cached_property
    def _naming(self) -> tuple[str, ...]:
        return distinguishing(setting for _, setting in self.curves.all)

    def fact(self, one: Subject) -> ModelFacts:
        """What is known of a subject's model."""
        return self.resolved.models.get(one.model, ModelFacts())

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """The data sets of this modality, shortest mean length first."""
        published = self.resolved.published
        return () if published is None else published.data_sets.get(self.name, ())

    @property
    def shares_published(self) -> Mapping[str, ShareFinding]:
        """The published shares by modality."""
        return {} if self.resolved.published is None else self.resolved.published.shares

    def tipping_published(self, indicator: str) -> TippingFinding | None:
        """What was published on an indicator's tipping point in this modality."""
        published = self.resolved.published
        return None if published is None else published.tipping_of(self.name, indicator)

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
    placed = _placed(points)
    found = []
    for indicator in part.resolved.indicators:
        if not indicator.varies_with_length:
            continue
        for mode in MODES:
            for setting, curves in groups.items():
                records = (record for curve in curves.values() for record in curve.values())
                if setting.mode == mode and any(indicator.name in record.indicators for record in records):
                    found.append(_Builder(part, indicator, setting, curves, placed).table())
    return tuple(found)


def _placed(points: Iterable[TippingPoint]) -> dict[Place, list[TippingPoint]]:
    """The tipping points by their variant, setting and indicator."""
    found: dict[Place, list[TippingPoint]] = {}
    for point in points:
        comparison = point.comparison
        place = (comparison.variant, comparison.variant_attention, point.setting, point.metric)
        found.setdefault(place, []).append(point)
    return found


@dataclass(frozen=True)
class _Builder:
    """What one table is built from."""

    part: Part
    indicator: IndicatorFacts
    setting: Setting
    curves: Mapping[Subject, Curve]
    placed: Mapping[Place, Sequence[TippingPoint]]

    def table(self) -> Table:
        """The table; its brief rows hold those on both sides of every tipping point."""
        lengths = sorted({length for curve in self.curves.values() for length in curve})
        points = [point for one in self.curves for point in self._points(one)]
        columns = [self._cells(one, lengths) for one in self.curves]
        shown = [any(cell.value is not None for cell in row) for row in zip(*columns, strict=True)]
        measured = [index for index, has in enumerate(shown) if has]
        chosen = brief(
            [lengths[index] for index in measured],
            BRIEF_HEADLINE if self.indicator.headline else BRIEF_OTHERS,
            {one.tipping.crossing.length for one in points if one.tipping.crossing},
        )
        return Table(
            indicator=self.indicator,
            unit=self.indicator.unit,
            length_unit=self.part.unit,
            mode=self.setting.mode,
            setting=self.part.words(self.setting),
            counted=self.indicator.exact,
            columns=tuple(self.part.column(one) for one in self.curves),
            compared=tuple(len(self._points(one)) for one in self.curves),
            rows=tuple(
                TableRow(length, cells) for length, cells in zip(lengths, zip(*columns, strict=True), strict=True)
            ),
            brief=tuple(measured[index] for index in chosen),
        )

    def _points(self, one: Subject) -> Sequence[TippingPoint]:
        return self.placed.get((one.model, one.attention, self.setting, self.indicator.name), ())

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
        reading = record.indicators.get(self.indicator.name)
        if reading is None or reading.value is None:
            return Cell(status=record.status if record.status != "ok" else None if reading is None else "none")
        detail = {name: value for name, value in reading.detail.items() if not isinstance(value, (list, tuple, dict))}
        if reading.rounds is not None:
            detail["rounds"] = reading.rounds.id
            if reading.rounds.stopped_by:
                detail["stopped_by"] = reading.rounds.stopped_by
        return Cell(reading.value, reading.low, reading.high, record.status, cheaper, detail or None)


def model_lines(part: Part) -> tuple[ModelLine, ...]:
    """What does not vary with the length, of everything that was measured."""
    by_subject: dict[Subject, list[Record]] = {}
    for (one, _), curve in part.curves.ok.items():
        by_subject.setdefault(one, []).extend(curve.values())
    return tuple(_model_line(part, one, by_subject[one]) for one in part.subjects if one in by_subject)


def _model_line(part: Part, one: Subject, records: Sequence[Record]) -> ModelLine:
    fixed = {
        indicator: _range(records, indicator)
        for indicator in part.resolved.indicators
        if not indicator.varies_with_length
    }
    kinds = next((record.kinds for record in records if record.kinds), {})
    total = sum(cost.parameters for cost in kinds.values())
    owned = {kind: kinds[kind].parameters / total for kind in sorted(kinds, key=rank) if kinds[kind].parameters}
    fewest, most = next((bounds for indicator, bounds in fixed.items() if indicator.name == PARAMETERS), (None, None))
    others = (
        FixedFigure(indicator, lowest, highest)
        for indicator, (lowest, highest) in fixed.items()
        if indicator.name != PARAMETERS and lowest is not None and highest is not None
    )
    return ModelLine(
        part.column(one),
        part.fact(one).family,
        None if fewest is None else round(fewest),
        None if most is None else round(most),
        owned,
        tuple(others),
    )


def _range(records: Sequence[Record], indicator: IndicatorFacts) -> tuple[float | None, float | None]:
    """The lowest and the highest value over all records."""
    readings = (record.indicators[indicator.name] for record in records if indicator.name in record.indicators)
    values = [reading.value for reading in readings if reading.value is not None]
    return (min(values), max(values)) if values else (None, None)


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

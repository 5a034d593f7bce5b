"""The tables of a view: each metric over length, and the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pyprof.analysis.curves import Curve, Curves, Setting, describe, distinguishing
from pyprof.analysis.launch_bound import launch_bound
from pyprof.analysis.shares import rank
from pyprof.analysis.tipping_points import TippingPoint
from pyprof.records.case import MODES
from pyprof.records.comparison import ModelFacts, Subject, place_of
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.published import DataSet, ShareFinding, TippingFinding
from pyprof.records.reading import Reading
from pyprof.records.record import PARAMETERS, Record
from pyprof.records.resolved import Resolved
from pyprof.report.view import Cell, Column, FixedFigure, ModelLine, Table, TableRow

# As many lengths a short print shows.
BRIEF_HEADLINE, BRIEF_OTHERS = 8, 5

# A variant, a setting and an indicator's name.
Place = tuple[tuple[str, ...], Setting, str]


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
        return tuple(sorted({subject for subject, _ in self.curves.all}, key=self._rank))

    def column(self, subject: Subject) -> Column:
        """The heading of a subject."""
        return Column.of(subject, self.fact(subject).vanilla is None)

    def words(self, setting: Setting) -> str:
        """What tells a setting from the others of this modality, in words."""
        return describe(setting, self._naming)

    def words_beside_comparison(self, one: Setting) -> str:
        """The same where the comparison is named, which has one allocator and one dtype."""
        return describe(one, [name for name in self._naming if name not in ("allocator", "dtype")])

    @cached_property
    def _naming(self) -> tuple[str, ...]:
        settings = [setting for _, setting in self.curves.all]
        names = distinguishing(settings)
        # That of 2023 need not be said where there is no other.
        if "dtype" in names or all(setting.dtype == "float32" for setting in settings):
            return names
        return ("dtype", *names)

    def fact(self, subject: Subject) -> ModelFacts:
        """What is known of a subject's model."""
        return self.resolved.models.get(subject.model, ModelFacts())

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

    def _rank(self, subject: Subject) -> tuple[bool, str, int, str, str]:
        attentions = self.fact(subject).attentions
        best = -attentions.index(subject.attention) if subject.attention in attentions else -len(attentions)
        return self.fact(subject).vanilla is not None, subject.model, best, subject.how, subject.weights or ""


def tables(part: Part, points: Sequence[TippingPoint]) -> tuple[Table, ...]:
    """A table for every metric over length, mode and setting that has a figure, in the order of the indicators."""
    groups: dict[Setting, dict[Subject, Curve]] = {}
    for subject in part.subjects:
        for (of, setting), curve in part.curves.all.items():
            if of == subject:
                groups.setdefault(setting, {})[subject] = curve
    placed = _placed(points)
    filled = []
    for indicator in part.resolved.indicators:
        if not indicator.varies_with_length:
            continue
        for mode in MODES:
            for setting, curves in groups.items():
                records = (record for curve in curves.values() for record in curve.values())
                if setting.mode == mode and any(indicator.name in record.indicators for record in records):
                    filled.append(_Builder(part, indicator, setting, curves, placed).table())
    return tuple(filled)


def _placed(points: Iterable[TippingPoint]) -> dict[Place, list[TippingPoint]]:
    """The tipping points by their variant, setting and indicator."""
    placed: dict[Place, list[TippingPoint]] = {}
    for point in points:
        place = (point.comparison.variant_place, point.setting, point.metric)
        placed.setdefault(place, []).append(point)
    return placed


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
        points = [point for subject in self.curves for point in self._points(subject)]
        columns = [self._cells(subject, lengths) for subject in self.curves]
        shown = [any(cell.value is not None for cell in row) for row in zip(*columns, strict=True)]
        measured = [index for index, has in enumerate(shown) if has]
        chosen = brief(
            [lengths[index] for index in measured],
            BRIEF_HEADLINE if self.indicator.headline else BRIEF_OTHERS,
            {point.tipping.crossing.length for point in points if point.tipping.crossing},
        )
        return Table(
            indicator=self.indicator,
            unit=self.indicator.unit,
            length_unit=self.part.unit,
            mode=self.setting.mode,
            setting=self.part.words(self.setting),
            counted=self.indicator.exact,
            columns=tuple(self.part.column(subject) for subject in self.curves),
            compared=tuple(len(self._points(subject)) for subject in self.curves),
            rows=tuple(
                TableRow(length, cells) for length, cells in zip(lengths, zip(*columns, strict=True), strict=True)
            ),
            brief=tuple(measured[index] for index in chosen),
        )

    def _points(self, subject: Subject) -> Sequence[TippingPoint]:
        place = (place_of(subject), self.setting, self.indicator.name)
        return self.placed.get(place, ())

    def _cells(self, subject: Subject, lengths: Sequence[int]) -> list[Cell]:
        curve, cheaper = self.curves[subject], dict[int, tuple[str, ...]]()
        for point in self._points(subject):
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
        bound = self.indicator.name == "latency" and bool(launch_bound(record))
        return Cell(reading.value, reading.low, reading.high, record.status, cheaper, bound, detail or None)


def model_lines(part: Part) -> tuple[ModelLine, ...]:
    """What does not vary with the length, of everything that was measured."""
    by_subject: dict[Subject, list[Record]] = {}
    for (subject, _), curve in part.curves.ok.items():
        by_subject.setdefault(subject, []).extend(curve.values())
    return tuple(_model_line(part, subject, by_subject[subject]) for subject in part.subjects if subject in by_subject)


def _model_line(part: Part, subject: Subject, records: Sequence[Record]) -> ModelLine:
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
        FixedFigure(indicator, lowest, highest, *_interval(records, indicator))
        for indicator, (lowest, highest) in fixed.items()
        if indicator.name != PARAMETERS and lowest is not None and highest is not None
    )
    return ModelLine(
        part.column(subject),
        part.fact(subject).family,
        None if fewest is None else round(fewest),
        None if most is None else round(most),
        owned,
        tuple(others),
    )


def _range(records: Sequence[Record], indicator: IndicatorFacts) -> tuple[float | None, float | None]:
    """The lowest and the highest value over all records."""
    values = [reading.value for reading in _readings(records, indicator) if reading.value is not None]
    return (min(values), max(values)) if values else (None, None)


def _interval(records: Sequence[Record], indicator: IndicatorFacts) -> tuple[float | None, float | None]:
    """The interval of the value where one record alone has one."""
    found = [reading for reading in _readings(records, indicator) if reading.value is not None]
    return (found[0].low, found[0].high) if len(found) == 1 else (None, None)


def _readings(records: Sequence[Record], indicator: IndicatorFacts) -> Iterator[Reading]:
    return (record.indicators[indicator.name] for record in records if indicator.name in record.indicators)


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
        after = next((index for index, other in enumerate(lengths) if other >= length), len(lengths) - 1)
        chosen |= {max(after - 1, 0), after}
    return tuple(sorted(chosen))

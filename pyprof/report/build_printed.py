"""Figures that were printed elsewhere, laid beside a run's."""

from __future__ import annotations

from collections.abc import Iterator

from pyprof.records.comparison import Subject
from pyprof.report.build_tables import Part
from pyprof.report.view_column import Column
from pyprof.report.view_printed import PrintedFigure


def printed_figures(part: Part) -> tuple[PrintedFigure, ...]:
    """Of every model of the run that the publication prints, in the order of its figures; each model once."""
    return tuple(figure for subject in _models(part) for figure in _of(part, subject))


def _models(part: Part) -> Iterator[Subject]:
    """A subject of each model: what is printed does not depend on the implementation of attention."""
    seen: dict[str, Subject] = {}
    for subject in part.subjects:
        seen[subject.model] = subject
    yield from seen.values()


def _of(part: Part, subject: Subject) -> Iterator[PrintedFigure]:
    published = part.resolved.published
    figures = None if published is None else published.figures.get(subject.model)
    if published is None or figures is None:
        return
    records = [
        curve[figures.length] for (of, _), curve in part.curves.ok.items() if of == subject and figures.length in curve
    ]
    column: Column = part.column(subject)
    for name, printed in figures.values.items():
        readings = (record.indicators[name] for record in records if name in record.indicators)
        ours = next((reading.value for reading in readings if reading.value is not None), None)
        ratio = ours / printed if ours and printed else None
        quality = name == published.quality
        yield PrintedFigure(column, name, figures.length, printed, ours, ratio, quality, figures.series)

"""What a cost consists of, over length: peak memory by component, for each model and mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyprof.report.charts.chart import Chart, Choice, Columns, Group, Key, hint, layered, rounded
from pyprof.report.charts.names import chart_name, column_words
from pyprof.report.charts.stacked import ABSOLUTE, RELATIVE, stacked
from pyprof.report.charts.theme import series
from pyprof.report.parts import part_words, parts_of
from pyprof.report.style import Scale
from pyprof.report.style import scale as unit_of
from pyprof.report.view import Cell, Column, ModalityView, Table

Run = tuple[str, ModalityView]


@dataclass(frozen=True)
class _Shown:
    """One chart's figures: its title, its table, and the cells with parts by length."""

    title: str
    table: Table
    cells: Mapping[int, Cell]


def part_groups(runs: Sequence[Run]) -> list[Group]:
    """A group for each indicator whose figures have parts, a chart in it for each model, mode, setting and run."""
    metrics = dict.fromkeys(each.metric for _, part in runs for each in part.tables if each.indicator.parts)
    groups = []
    for metric in metrics:
        every = [shown for run, part in runs for shown in _every(run, part, metric)]
        if every:
            groups.append(_group(metric, runs[0][1], every))
    return groups


def _every(run: str, part: ModalityView, metric: str) -> Iterator[_Shown]:
    for table in part.tables:
        for index, column in enumerate(table.columns if table.metric == metric else ()):
            cells = {row.length: row.cells[index] for row in table.rows if parts_of(table, row.cells[index])}
            if cells:
                yield _Shown(_title(run, table, column), table, cells)


def _title(run: str, table: Table, column: Column) -> str:
    return " · ".join(filter(None, (f"{column_words(column)}, {table.mode}", table.setting, run)))


def _group(metric: str, part: ModalityView, every: Sequence[_Shown]) -> Group:
    indicator = every[0].table.indicator
    present = {name for shown in every for cell in shown.cells.values() for name in parts_of(shown.table, cell)}
    names = [name for name in indicator.parts if name in present]
    colours = {part_words(name): series(number) for number, name in enumerate(indicator.parts) if name in present}
    values = [cell.value or 0.0 for shown in every for cell in shown.cells.values()]
    unit = unit_of(values, indicator.format, indicator.unit)
    top = max(values) / unit.factor
    charts = tuple(
        _chart(chart_name("parts", part.name, metric, number), shown, part.unit, unit, names, colours, top)
        for number, shown in enumerate(every)
    )
    keys = tuple(Key(words, colour) for words, colour in colours.items())
    return Group(chart_name("parts", part.name, metric), f"{indicator.title}: what it consists of", charts, keys)


def _chart(
    name: str, shown: _Shown, of: str, unit: Scale, names: Sequence[str], colours: Mapping[str, str], top: float
) -> Chart:
    figures = [
        (length, number, each, parts_of(shown.table, cell).get(each, 0.0), cell.value or 1.0)
        for length, cell in shown.cells.items()
        for number, each in enumerate(names)
    ]
    tables: Mapping[str, Columns] = {
        "rows": {
            "length": [length for length, *_ in figures],
            "part": [part_words(each) for _, _, each, _, _ in figures],
            "order": [number for _, number, *_ in figures],
            "value": [rounded(value / unit.factor, 4) for *_, value, _ in figures],
            "share": [rounded(value / whole, 4) for *_, value, whole in figures],
        }
    }
    title = shown.table.indicator.title.lower()
    tooltip = {"tooltip": hint(length="length", part="part", share="share", **{f"size_({unit.unit})": "value"})}
    lengths = len(shown.cells)
    specs = {
        kind: layered(
            stacked("value", axis, "part", colours, lengths=lengths, unit=of, top=end, tooltip=tooltip), tables
        )
        for kind, axis, end in (
            (ABSOLUTE, f"{title} ({unit.unit})", top),
            (RELATIVE, f"share of {title}", None),
        )
    }
    return Chart(
        name=name,
        title=shown.title,
        description=_description(shown, of),
        tables=tables,
        specs=specs,
        choices=(Choice("scale", (ABSOLUTE, RELATIVE)),),
        height=190,
    )


def _description(shown: _Shown, length_unit: str) -> str:
    """The largest parts at the longest length."""
    length, cell = max(shown.cells.items())
    largest = sorted(parts_of(shown.table, cell).items(), key=lambda each: -each[1])[:3]
    told = ", ".join(f"{part_words(name)} {100 * value / (cell.value or 1.0):.0f} %" for name, value in largest)
    return f"{shown.table.indicator.title} over length, {shown.title}: at {length:,} {length_unit}s {told}."

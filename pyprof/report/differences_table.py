"""Several runs in a terminal: each report, and what the later ones cost in units of the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich import box
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.ratio import RatioPoint
from pyprof.report import terminal
from pyprof.report.build_tables import brief
from pyprof.report.console import Console
from pyprof.report.several import Several
from pyprof.report.short_names import ShortNames
from pyprof.report.style import Glyphs, glyphs, rule, usable_width
from pyprof.report.view import DifferenceLine

_LENGTHS = 4


def write(told: Several, console: Console) -> None:
    """Write the reports one after the other, and the differences below."""
    marks, width = glyphs(console.encoding), usable_width(console.width)
    for name, view in zip(told.names, told.views, strict=True):
        console.print(rule(name, width, marks))
        terminal.write(view, console)
    differences = ShortNames.of_views(told.views).within(told.differences)
    for part in difference_tables(replace(told, differences=differences), width, marks):
        console.print(part)


def difference_tables(told: Several, width: int, marks: Glyphs) -> Iterator[RenderableType]:
    """For each later run in what its environment differs, and a table for each indicator and mode."""
    for pair in told.pairs:
        yield rule(f"{pair.after} against {pair.before}", width, marks)
        yield Text(f"the environments differ in {'; '.join(pair.different) or 'nothing that results depend on'}")
        lines = [line for line in told.differences if line.after == pair.after]
        if not lines:
            yield Text("the runs have no measured case in common", "yellow")
        for indicator in dict.fromkeys(line.indicator for line in lines):
            for mode in dict.fromkeys(line.mode for line in lines if line.indicator == indicator):
                own = [line for line in lines if (line.indicator, line.mode) == (indicator, mode)]
                title = Text.assemble((indicator.title, "bold"), ", ", (mode, "bold"))
                yield title.append(f": the cost in units of that in {pair.before} [95 % interval]")
                yield _table(own, marks)
        if lines:
            yield Text("readings of two runs are not taken in turn: a change of the machine is in the ratios", "dim")


def _table(lines: Sequence[DifferenceLine], marks: Glyphs) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("model", no_wrap=True)
    grid.add_column("by length", overflow="fold")
    for line in lines:
        points = [line.points[index] for index in brief([point.length for point in line.points], _LENGTHS)]
        text = Text()
        for number, point in enumerate(points):
            text.append(f" {marks.dot} " if number else "").append(f"{point.length:,} ", "dim").append(
                _ratio(point, marks)
            )
        grid.add_row(Text.assemble((line.column.model, "bold"), f" {line.column.how}"), text)
    return grid


def _ratio(point: RatioPoint, marks: Glyphs) -> Text:
    text = Text(f"{point.ratio:.3g}", _style(point))
    if point.low is not None and point.high is not None and point.low < point.high:
        text.append(f" [{point.low:.3g}{marks.dash}{point.high:.3g}]", "not bold dim")
    return text


def _style(point: RatioPoint) -> str:
    if point.low is None or point.high is None or point.low <= 1 <= point.high:
        return ""
    return "bold green" if point.high < 1 else "bold red"

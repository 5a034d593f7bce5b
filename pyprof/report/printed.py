"""Figures that were printed elsewhere beside a run's, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.records.indicator import IndicatorFacts
from pyprof.report.style import Glyphs, figure
from pyprof.report.view import ModalityView
from pyprof.report.view_printed import PrintedFigure


def printed_table(
    part: ModalityView, source: str, indicators: Mapping[str, IndicatorFacts], glyphs: Glyphs
) -> Iterator[RenderableType]:
    """A row for each model, for each figure ours beside the printed one, and by how much they differ."""
    if not part.printed:
        return
    names = list(dict.fromkeys(each.name for each in part.printed))
    by_model: dict[str, dict[str, PrintedFigure]] = {}
    for each in part.printed:
        by_model.setdefault(each.column.model, {})[each.name] = each
    yield Text.assemble(("Beside the printed figures", "bold"), f" ({source})")
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    grid.add_column("model", no_wrap=True, style="bold")
    for name in names:
        grid.add_column(Text(indicators[name].title if name in indicators else name), justify="right")
    for model, figures in by_model.items():
        grid.add_row(model, *(_cell(figures.get(name), indicators.get(name), glyphs) for name in names))
    yield grid
    yield Text("ours, printed, the difference; what is printed alone has no figure of this run to stand beside", "dim")


def _cell(each: PrintedFigure | None, indicator: IndicatorFacts | None, glyphs: Glyphs) -> Text:
    if each is None:
        return Text(glyphs.dash, "dim")
    if indicator is None:
        return Text(f"{each.printed:g}", "cyan")
    printed = figure(indicator, each.printed)
    if each.ours is None or each.ratio is None:
        return Text(printed, "cyan")
    text = Text(f"{figure(indicator, each.ours)} ").append(printed, "cyan")
    return text.append(f" {100 * (each.ratio - 1):+.1f} %", "dim")

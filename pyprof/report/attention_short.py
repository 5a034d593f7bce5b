"""What a comparison of attention implementations comes to on one screen: each in units of the first one's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.report.style import Glyphs

if TYPE_CHECKING:
    from pyprof.attention import Comparison
    from pyprof.attention.result import Row


def in_short(comparison: Comparison, marks: Glyphs) -> Iterator[RenderableType]:
    """A row for each implementation, a column for each dtype and mode; nothing where only one was measured."""
    rows = [row for result in comparison.results for row in result.rows]
    impls = list(dict.fromkeys(row.impl for row in rows if row.against is not None))
    firsts = {next((row.impl for row in result.rows if row.seconds is not None), None) for result in comparison.results}
    if len(impls) < 2 or len(comparison.results) < 2 or len(firsts) != 1:
        return
    (first,) = firsts
    columns = list(dict.fromkeys((result.problem.dtype, result.mode) for result in comparison.results))
    grid = Grid.grid(padding=(0, 3, 0, 0))
    grid.add_column(no_wrap=True)
    heads = [mode if len(comparison.grid.dtypes) == 1 else f"{mode}, {dtype}" for dtype, mode in columns]
    grid.add_row("", *(Text(head, "bold") for head in heads))
    for impl in impls:
        if impl != first:
            cells = [
                _cell([row for result in comparison.results if (result.problem.dtype, result.mode) == column
                       for row in result.rows if row.impl == impl and row.against is not None], marks)
                for column in columns
            ]  # fmt: skip
            grid.add_row(Text(f"  {impl}"), *cells)
    yield Text("")
    yield Text.assemble(("In short", "bold"), f": how many times {first}'s time each takes, over the problems below")
    yield grid
    yield Text("bold where it is shown to take longer in all of them, green where less, ? where in some neither", "dim")


def _cell(rows: Sequence[Row], marks: Glyphs) -> Text:
    """The least and the largest ratio; bounds tell whether all are shown to lie on one side of 1."""
    ratios = [row.against for row in rows if row.against is not None]
    if not ratios:
        return Text(marks.dash, "dim")
    ends = dict.fromkeys(_written(each) for each in (min(r.value for r in ratios), max(r.value for r in ratios)))
    longer = all(ratio.low is not None and ratio.low > 1 for ratio in ratios)
    less = all(ratio.high is not None and ratio.high < 1 for ratio in ratios)
    shown = all(
        ratio.low is not None and ratio.high is not None and not ratio.low <= 1 <= ratio.high for ratio in ratios
    )
    text = Text(" to ".join(ends), "bold green" if less else "bold" if longer else "")
    return text if shown else text.append(" ?", "yellow")


def _written(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:,.1f}" if ratio < 99.95 else f"{ratio:,.0f}"

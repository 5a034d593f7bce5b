"""Long Range Arena's models: the speed of each here against the published one, with its memory as area."""

from __future__ import annotations

from collections.abc import Sequence

from pyprof.analysis.arena import ArenaTable
from pyprof.report.charts.chart import Chart
from pyprof.report.charts.front import Axes, Measure, Point, front_chart
from pyprof.report.charts.names import chart_name

_CAPTION = "Ratios to the vanilla Transformer, at the longest length that was measured."


def arena_charts(tables: Sequence[ArenaTable], run: str = "") -> list[Chart]:
    """A chart for each setting in which something was measured."""
    made = []
    for number, table in enumerate(tables):
        points = [
            Point(cell.model, Measure(cell.published_speed), Measure(cell.speed), area=cell.memory)
            for cell in table.cells
            if cell.length == table.longest and cell.speed is not None
        ]
        if points:
            axes = Axes("published speed", "speed here", area="peak memory here")
            title = " · ".join(filter(None, (f"The arena's models at {table.longest:,} tokens", run)))
            made.append(front_chart(chart_name("arena", number, run), title, points, axes, caption=_CAPTION))
    return made

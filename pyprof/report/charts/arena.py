"""Long Range Arena's models: the speed of each here against the published one, with its memory as area."""

from __future__ import annotations

from collections.abc import Sequence

from pyprof.analysis.arena import ArenaTable
from pyprof.analysis.arena_scores import ArenaScores
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


def score_charts(tables: Sequence[ArenaScores], run: str = "") -> list[Chart]:
    """The arena's figure for each setting: the mean score against the speed, with the peak memory as area."""
    made = []
    for number, table in enumerate(tables):
        points = [
            Point(
                row.model,
                Measure(row.speed),
                Measure(100 * row.average, _percent(row.low), _percent(row.high)),
                area=row.memory,
            )
            for row in table.rows
            if row.speed is not None and row.average is not None
        ]
        if points:
            axes = Axes("training steps a second", "mean score (%)", y_log=False, area="peak memory")
            title = " · ".join(filter(None, ("Score against speed on the arena's tasks", run)))
            caption = f"Speed and memory are those of a training step of one example of {table.length:,} tokens."
            made.append(front_chart(chart_name("scores", number, run), title, points, axes, caption=caption))
    return made


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share

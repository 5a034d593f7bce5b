"""Matched comparisons: what a model costs beside another that was made equal to it in one cost, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyprof.report.charts.chart import Chart, Group
from pyprof.report.charts.intervals import Line, bounds, distinct, intervals_chart
from pyprof.report.charts.names import chart_name

# What all columns have beyond their farthest ends.
_MARGIN = 1.05


@dataclass(frozen=True)
class Matched:
    """One indicator of the pair that was matched in `target`: how many times as much it costs, with its bounds."""

    target: str
    indicator: str
    ratio: float
    low: float | None = None
    high: float | None = None

    @property
    def is_target(self) -> bool:
        return self.indicator == self.target


def matched_group(name: str, title: str, rows: Sequence[Matched], *, caption: str = "") -> Group:
    """A chart for each target beside the others, with the same indicators in the same order, so that what a fair match
    in one cost hides in the others lies side by side.
    """
    targets = list(dict.fromkeys(row.target for row in rows))
    order = list(dict.fromkeys(row.indicator for row in rows))
    ends = [value for row in rows for value in (row.ratio, row.low, row.high, 1.0) if value is not None]
    domain = [min(ends, default=1.0) / _MARGIN, max(ends, default=1.0) * _MARGIN]
    scale = {"type": "log", "domain": domain}
    charts = tuple(
        _chart(name, target, [row for row in rows if row.target == target], order, scale) for target in targets
    )
    return Group(name, title, charts, caption=caption)


def _chart(name: str, target: str, rows: Sequence[Matched], order: Sequence[str], scale: Mapping[str, Any]) -> Chart:
    placed = sorted(rows, key=lambda row: order.index(row.indicator))
    names = distinct(row.indicator for row in placed)
    lines = [
        Line(called, row.ratio, row.low, row.high, f"{row.ratio:.3g}{bounds(row.low, row.high)}",
             "series-6" if row.is_target else "series-0")
        for called, row in zip(names, placed, strict=True)
    ]  # fmt: skip
    title = f"equal {target}"
    return intervals_chart(chart_name(name, target), title, lines, "times the cost", at=1.0, scale=scale)

"""Figures with their intervals on one axis, a line for each: what changed, what a tool costs, what a round gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyprof.report.charts.chart import NAMES, Chart, Columns, axis, hint, layered, rounded, table
from pyprof.report.charts.theme import colour

_ROW = 24
_AROUND = 50


@dataclass(frozen=True)
class Line:
    """A figure under its name: bounds are None where there is no interval; `colour` names one of the theme."""

    name: str
    value: float
    low: float | None
    high: float | None
    said: str
    colour: str = "series-0"


def intervals_chart(
    name: str,
    title: str,
    lines: Sequence[Line],
    axis_title: str,
    *,
    at: float | None = None,
    scale: Mapping[str, Any] | None = None,
    caption: str = "",
) -> Chart:
    """A point and its interval for each line, in their order from the top; a rule `at` what they are held against."""
    order = list(dict.fromkeys(line.name for line in lines))
    bounded = [(line, line.low, line.high) for line in lines if line.low is not None and line.high is not None]
    tables: Mapping[str, Columns] = {
        "lines": {
            "name": [line.name for line in lines],
            "value": [rounded(line.value) for line in lines],
            "said": [line.said for line in lines],
            "tint": [line.colour for line in lines],
        },
        "intervals": {
            "name": [line.name for line, _, _ in bounded],
            "low": [rounded(low) for _, low, _ in bounded],
            "high": [rounded(high) for _, _, high in bounded],
            "tint": [line.colour for line, _, _ in bounded],
        },
    }
    tints = list(dict.fromkeys(line.colour for line in lines))
    tint = {
        "field": "tint",
        "type": "nominal",
        "scale": {"domain": tints, "range": [colour(each) for each in tints]},
        "legend": None,
    }
    y = {"field": "name", "type": "nominal", "scale": {"domain": order}, "title": None, "axis": NAMES}
    x = axis("value", axis_title, axis={"tickCount": 6}, scale={"nice": False, "padding": 12, **(scale or {})})
    rule = {"data": {"values": [{"at": at}]}, "mark": {"type": "rule", "color": colour("ink"), "strokeDash": [4, 3]},
            "encoding": {"x": {"field": "at", "type": "quantitative"}}}  # fmt: skip
    spec = layered(
        [
            *([rule] if at is not None else []),
            {**table("intervals"), "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55},
             "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": tint}},
            {**table("lines"), "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
             "encoding": {"y": y, "x": x, "color": tint, "tooltip": hint(_="name", figure="said")}},
        ],
        tables,
    )  # fmt: skip
    told = "; ".join(f"{line.name}: {line.said}" for line in lines[:12])
    more = f"; and {len(lines) - 12} more" if len(lines) > 12 else ""
    return Chart(
        name=name,
        title=title,
        description=f"{title}. {told}{more}.",
        tables=tables,
        specs={"": spec},
        caption=caption,
        height=_ROW * len(order) + _AROUND,
    )


def bounds(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval in words behind a figure: " [1.02 to 1.05]", nothing where there is none."""
    return "" if low is None or high is None else f" [{low:.{digits}g} to {high:.{digits}g}]"


def distinct(names: Iterable[str]) -> list[str]:
    """Names by which lines can be told apart: one that is there already gets a number."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return made

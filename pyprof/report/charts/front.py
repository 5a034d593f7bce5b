"""One measure against another: who cannot be beaten in both, with what is not sure of each; a third one as area."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pyprof.report.charts.chart import Chart, Columns, axis, hint, layered, rounded, table
from pyprof.report.charts.theme import colour

Standing = Literal["member", "near", "dominated", ""]

# Told apart by colour and by shape.
_TINTS: Mapping[str, str] = {"member": "good", "near": "care", "dominated": "series-6", "": "series-0"}
_SHAPES: Mapping[str, str] = {"member": "circle", "near": "square", "dominated": "triangle-up", "": "circle"}
_READING = "Circles are at the front, squares may be, triangles are shown to be beaten in both."
# In pixels: how wide a chart is beside another one, a letter and a line of a name, and its distance from its point.
_WIDTH, _HEIGHT, _PADDING = 400, 360, 30
_LETTER, _LINE, _GAP, _ABOVE_WHISKERS = 6, 12, 4, -7
_POINT, _SMALLEST, _LARGEST = 80, 20, 1_600
# Names of points that lie further to the right than this share of the chart had better stand on their left.
_TURN = 0.7


@dataclass(frozen=True)
class Measure:
    """One figure with its bounds, None where there are none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """One thing by two measures: its standing at the front ("" where there is none), and the third measure as area."""

    name: str
    x: Measure
    y: Measure
    standing: Standing = ""
    area: float | None = None
    said: str = ""


@dataclass(frozen=True)
class Axes:
    """What the two measures are called, and whether their axes are logarithmic; `area` is what the third one is."""

    x: str
    y: str
    x_log: bool = True
    y_log: bool = True
    area: str = ""


def front_chart(name: str, title: str, points: Sequence[Point], axes: Axes, *, caption: str = "") -> Chart:
    """A point for each thing with its bounds in both directions, its name beside it, and a line through the members."""
    members = sorted((each for each in points if each.standing == "member"), key=lambda each: each.x.value)
    across = [(each, each.x.low, each.x.high) for each in points if each.x.low is not None and each.x.high is not None]
    along = [(each, each.y.low, each.y.high) for each in points if each.y.low is not None and each.y.high is not None]
    tables: Mapping[str, Columns] = {
        "points": {
            "name": [each.name for each in points],
            "x": [rounded(each.x.value) for each in points],
            "y": [rounded(each.y.value) for each in points],
            "standing": [each.standing for each in points],
            "area": [each.area or 0.0 for each in points],
            "said": [_words(each, axes) for each in points],
            **_names(points, axes),
        },
        "across": {
            "y": [rounded(each.y.value) for each, _, _ in across],
            "low": [rounded(low) for _, low, _ in across],
            "high": [rounded(high) for _, _, high in across],
            "standing": [each.standing for each, _, _ in across],
        },
        "along": {
            "x": [rounded(each.x.value) for each, _, _ in along],
            "low": [rounded(low) for _, low, _ in along],
            "high": [rounded(high) for _, _, high in along],
            "standing": [each.standing for each, _, _ in along],
        },
        "front": {
            "x": [rounded(each.x.value) for each in members],
            "y": [rounded(each.y.value) for each in members],
        },
    }
    x = axis("x", axes.x, scale=_scale(axes.x_log), axis={"format": "~g", "tickCount": 6, "grid": False})
    y = axis("y", axes.y, scale=_scale(axes.y_log), axis={"format": "~g", "tickCount": 6})
    domain = list(_TINTS)
    tint = {
        "field": "standing",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": domain, "range": [colour(_TINTS[each]) for each in domain]},
    }
    shape = {
        "field": "standing",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": domain, "range": [_SHAPES[each] for each in domain]},
    }
    has_area = any(each.area for each in points)
    size: dict[str, Any] = {"value": _POINT}
    if has_area:
        size = {
            "field": "area",
            "type": "quantitative",
            "legend": None,
            "scale": {"range": [_SMALLEST, _LARGEST], "zero": True},
        }
    whisker = {"type": "rule", "strokeWidth": 2, "opacity": 0.5}
    spec = layered(
        [
            {**table("front"), "mark": {"type": "line", "interpolate": "linear", "color": colour("good"),
                                        "strokeDash": [5, 3], "strokeWidth": 1.5},
             "encoding": {"x": x, "y": y, "order": {"field": "x", "type": "quantitative"}}},
            {**table("across"), "mark": whisker,
             "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": tint}},
            {**table("along"), "mark": whisker,
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": tint}},
            {**table("points"), "mark": {"type": "point", "filled": True, "opacity": 0.55 if has_area else 1},
             "encoding": {"x": x, "y": y, "color": tint, "shape": shape, "size": size,
                          "tooltip": hint(_="name", standing="standing", figures="said")}},
            {**table("points"), "mark": {"type": "text", "align": {"expr": "datum.align"}, "baseline": "middle",
                                         "dx": {"expr": "datum.aside"}, "dy": {"expr": "datum.down"},
                                         "fontSize": 11, "color": colour("ink")},
             "encoding": {"x": x, "y": y, "text": {"field": "name", "type": "nominal"}}},
        ],
        tables,
    )  # fmt: skip
    told = "; ".join(f"{each.name} {_words(each, axes)}" for each in points[:12])
    ahead = f" At the front: {', '.join(each.name for each in members)}." if members else ""
    said = [caption, *([_READING] if members else []), *([f"Area: {axes.area}."] if has_area and axes.area else [])]
    return Chart(name, title, f"{title}. {told}.{ahead}", tables, {"": spec}, caption=" ".join(filter(None, said)),
                 height=_HEIGHT)  # fmt: skip


def _names(points: Sequence[Point], axes: Axes) -> Columns:
    """Where the names stand: beside their points, where there is room and no other name or point."""
    across = _places([(each.x.value, each.x.low, each.x.high) for each in points], _WIDTH, axes.x_log)
    along = _places([(each.y.value, each.y.low, each.y.high) for each in points], _HEIGHT, axes.y_log)
    most = max((each.area or 0.0 for each in points), default=0.0)
    # The area of a circle as the chart's scale makes it.
    sizes = [_SMALLEST + (_LARGEST - _SMALLEST) * (each.area or 0.0) / most if most else _POINT for each in points]
    marks = [(x, _HEIGHT - y, math.sqrt(size / math.pi)) for x, y, size in zip(across, along, sizes, strict=True)]
    placed: list[_Box] = []
    sides, shifts = [], []
    for number, point in enumerate(points):
        x, y, radius = marks[number]
        first = 0 if most else _ABOVE_WHISKERS
        ways = [(side, first + step * _LINE) for step in (0, -1, 1, -2, 2) for side in _sides(x)]
        boxes = [_box(x, y, radius, len(point.name), *way) for way in ways]
        others = [_mark(mark) for mark in (*marks[:number], *marks[number + 1 :])]
        costs = [sum(_overlap(box, other) for other in (*placed, *others)) + _outside(box) for box in boxes]
        best = costs.index(min(costs))
        placed.append(boxes[best])
        sides.append(ways[best][0])
        shifts.append(ways[best][1])
    asides = [round(radius) + _GAP for _, _, radius in marks]
    return {
        "align": ["right" if side < 0 else "left" for side in sides],
        "aside": [side * aside for side, aside in zip(sides, asides, strict=True)],
        "down": shifts,
    }


# From the left, the top, the right and the bottom, in pixels.
_Box = tuple[float, float, float, float]


def _places(figures: Sequence[tuple[float, float | None, float | None]], size: float, log: bool) -> list[float]:
    """Where values come to lie along an axis that holds them and their bounds."""

    def place(value: float) -> float:
        return math.log(value) if log and value > 0 else value

    ends = [place(value) for value in (each for figure in figures for each in figure) if value is not None]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    scale = (size - 2 * _PADDING) / (high - low) if high > low else 0.0
    return [_PADDING + scale * (place(value) - low) for value, _, _ in figures]


def _sides(x: float) -> tuple[int, int]:
    """The right (1) and the left (-1) of a point, the better one first."""
    return (-1, 1) if x > _TURN * _WIDTH else (1, -1)


def _box(x: float, y: float, radius: float, letters: int, side: int, down: float) -> _Box:
    begin = x + side * (radius + _GAP)
    end = begin + side * letters * _LETTER
    return min(begin, end), y + down - _LINE / 2, max(begin, end), y + down + _LINE / 2


def _mark(mark: tuple[float, float, float]) -> _Box:
    x, y, radius = mark
    return x - radius, y - radius, x + radius, y + radius


def _overlap(one: _Box, other: _Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _outside(box: _Box) -> float:
    return _LINE * (max(0.0, -box[0]) + max(0.0, box[2] - _WIDTH))


def _scale(logarithmic: bool) -> dict[str, Any]:
    return (
        {"type": "log", "nice": False, "padding": _PADDING}
        if logarithmic
        else {"type": "linear", "zero": False, "padding": _PADDING}
    )


def _words(point: Point, axes: Axes) -> str:
    third = f", {axes.area or 'area'} {point.area:.3g}" if point.area else ""
    standing = f", {point.standing}" if point.standing else ""
    more = f", {point.said}" if point.said else ""
    return f"{axes.x} {_figure(point.x)}, {axes.y} {_figure(point.y)}{third}{standing}{more}"


def _figure(measure: Measure) -> str:
    bounds = "" if measure.low is None or measure.high is None else f" [{measure.low:.3g} to {measure.high:.3g}]"
    return f"{measure.value:.3g}{bounds}"

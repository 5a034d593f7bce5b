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
_HEIGHT = 360
_POINT, _SMALLEST, _LARGEST = 80, 20, 1_600
# Names of points that lie further to the right than this share of the chart stand on their left.
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
                                         "dx": {"expr": "datum.aside"}, "dy": 0 if has_area else -7, "fontSize": 11,
                                         "color": colour("ink")},
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
    """Where the names stand: beside their points, on the side where there is room."""
    places = [math.log(each.x.value) if axes.x_log and each.x.value > 0 else each.x.value for each in points]
    low, high = min(places, default=0.0), max(places, default=0.0)
    left = [high > low and (place - low) / (high - low) > _TURN for place in places]
    most = max((each.area or 0.0 for each in points), default=0.0)
    # The area of a circle as the chart's scale makes it.
    sizes = [_SMALLEST + (_LARGEST - _SMALLEST) * (each.area or 0.0) / most if most else _POINT for each in points]
    asides = [round(math.sqrt(size / math.pi)) + 4 for size in sizes]
    return {
        "align": ["right" if turned else "left" for turned in left],
        "aside": [-aside if turned else aside for aside, turned in zip(asides, left, strict=True)],
    }


def _scale(logarithmic: bool) -> dict[str, Any]:
    return (
        {"type": "log", "nice": False, "padding": 30}
        if logarithmic
        else {"type": "linear", "zero": False, "padding": 30}
    )


def _words(point: Point, axes: Axes) -> str:
    third = f", {axes.area or 'area'} {point.area:.3g}" if point.area else ""
    standing = f", {point.standing}" if point.standing else ""
    more = f", {point.said}" if point.said else ""
    return f"{axes.x} {_figure(point.x)}, {axes.y} {_figure(point.y)}{third}{standing}{more}"


def _figure(measure: Measure) -> str:
    bounds = "" if measure.low is None or measure.high is None else f" [{measure.low:.3g} to {measure.high:.3g}]"
    return f"{measure.value:.3g}{bounds}"

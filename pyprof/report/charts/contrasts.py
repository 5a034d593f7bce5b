"""Charts of several indicators at once: how far they disagree, what changes places, and which models nothing beats.

They take what an analysis has found as small rows; units, words and directions come from the indicators' entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyprof.records.indicator import IndicatorFacts
from pyprof.report.charts.chart import NAMES, Chart, Columns, Spec, axis, hint, layered, table
from pyprof.report.charts.names import chart_name
from pyprof.report.charts.theme import SHAPES, colour, series
from pyprof.report.style import Scale, figure
from pyprof.report.style import scale as unit_of


@dataclass(frozen=True)
class Figure:
    """A value in its indicator's unit with the ends of its interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Spot:
    """One model among others: its figures of two indicators, of a third as an area, and if it is on the front."""

    words: str
    x: Figure
    y: Figure
    area: float | None = None
    front: bool = False


def matrix_chart(
    title: str, names: Sequence[str], values: Mapping[tuple[str, str], float], meaning: str, *, low: float = 0.0
) -> Chart:
    """How much each of some things has to do with each other one, from `low` to 1: a square for every pair known.

    `meaning` says in a phrase what a value is.
    """
    pairs = [(row, column) for row in names for column in names if (row, column) in values]
    cells: Columns = {
        "row": [row for row, _ in pairs],
        "column": [column for _, column in pairs],
        "value": [float(f"{values[pair]:.4g}") for pair in pairs],
    }
    tables = {"cells": cells}
    x: dict[str, Any] = {"field": "column", "type": "nominal", "title": None, "scale": {"domain": list(names)}}
    x["axis"] = {**NAMES, "labelAngle": -35, "labelPadding": 4}
    y = {"field": "row", "type": "nominal", "title": None, "scale": {"domain": list(names)}, "axis": NAMES}
    strength = {
        "field": "value",
        "type": "quantitative",
        "legend": None,
        "scale": {"domain": [low, 1], "range": [0.05, 0.6]},
    }
    number = {"field": "value", "type": "quantitative", "format": ".2f"}
    said = {"tooltip": hint(one="row", other="column", **{meaning.replace(" ", "_"): "value"})}
    square: Spec = {
        **table("cells"),
        "mark": {"type": "rect", "color": series(0), "stroke": colour("ground"), "strokeWidth": 2},
        "encoding": {"x": x, "y": y, "opacity": strength, **said},
    }
    text: Spec = {
        **table("cells"),
        "mark": {"type": "text", "color": colour("ink"), "fontSize": 12},
        "encoding": {"x": x, "y": y, "text": number},
    }
    ranked = sorted((pair for pair in pairs if pair[0] != pair[1]), key=lambda pair: values[pair])
    told = f" Least: {' and '.join(ranked[0])}, {values[ranked[0]]:.2f}." if ranked else ""
    return Chart(
        name=chart_name("matrix", title),
        title=title,
        description=f"{title}: {meaning}, for every two of {', '.join(names)}.{told}",
        tables=tables,
        specs={"": layered([square, text], tables)},
        caption=f"Each number is {meaning}.",
        height=36 * len(names),
    )


def slope_chart(title: str, orders: Mapping[str, Sequence[str]]) -> Chart:
    """How an order changes from one indicator to the next: a line for each model, the best one on top."""
    heads = list(orders)
    models = list(dict.fromkeys(name for order in orders.values() for name in order))
    places = [(head, name, order.index(name) + 1) for head, order in orders.items() for name in order]
    tables: Mapping[str, Columns] = {
        "places": {
            "by": [head for head, _, _ in places],
            "model": [name for _, name, _ in places],
            "place": [place for _, _, place in places],
        },
        "ends": {
            "by": [head for head in (heads[0], heads[-1]) for _ in orders[head]],
            "model": [name for head in (heads[0], heads[-1]) for name in orders[head]],
            "place": [place + 1 for head in (heads[0], heads[-1]) for place in range(len(orders[head]))],
            "side": [side for side, head in (("left", heads[0]), ("right", heads[-1])) for _ in orders[head]],
        },
    }
    x: dict[str, Any] = {"field": "by", "type": "nominal", "title": None, "scale": {"domain": heads, "padding": 0.9}}
    x |= {"sort": heads, "axis": {**NAMES, "orient": "top", "labelAngle": 0, "labelPadding": 16}}
    y = {**axis("place", "place", scale={"reverse": True, "zero": False}), "axis": None}
    tint = _tint("model", models)
    line: Spec = {
        **table("places"),
        "mark": {"type": "line", "strokeWidth": 2.5},
        "encoding": {"x": x, "y": y, "color": tint, "detail": {"field": "model"}},
    }
    point: Spec = {
        **table("places"),
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
        "encoding": {"x": x, "y": y, "color": tint, "tooltip": hint(model="model", by="by", place="place")},
    }
    names = [
        {
            **table("ends"),
            "transform": [{"filter": {"field": "side", "equal": side}}],
            "mark": {"type": "text", "align": align, "dx": dx, "color": colour("ink"), "fontSize": 12},
            "encoding": {"x": x, "y": y, "text": {"field": "model", "type": "nominal"}},
        }
        for side, align, dx in (("left", "right", -10), ("right", "left", 10))
    ]
    told = "; ".join(f"by {head}: {', '.join(order)}" for head, order in orders.items())
    return Chart(
        name=chart_name("slope", title),
        title=title,
        description=f"{title}, the best first: {told}.",
        tables=tables,
        specs={"": layered([line, point, *names], tables)},
        height=34 * max(map(len, orders.values())),
    )


def front_chart(
    title: str, x: IndicatorFacts, y: IndicatorFacts, spots: Sequence[Spot], area: IndicatorFacts | None = None
) -> Chart:
    """Models by two indicators with their intervals: a line joins those on the front, which none beats in both.

    With a third indicator, such as memory, the area of a point is proportional to it.
    """
    across, up = (_unit(indicator, [each(spot).value for spot in spots]) for indicator, each in ((x, _x), (y, _y)))
    words = [spot.words for spot in spots]
    tables: Mapping[str, Columns] = {
        "spots": {
            "model": words,
            **_ends("x", [spot.x for spot in spots], across),
            **_ends("y", [spot.y for spot in spots], up),
            "area": [spot.area for spot in spots],
            "size": ["" if area is None or spot.area is None else figure(area, spot.area) for spot in spots],
            "front": ["yes" if spot.front else "no" for spot in spots],
        }
    }
    horizontal = {
        **axis("x", _label(x, across), scale={"zero": False, "nice": True}),
        "axis": {"format": ",~f", "grid": False},
    }
    vertical = {**axis("y", _label(y, up), scale={"zero": False, "nice": True}), "axis": {"format": ",~f"}}
    tint = _tint("model", words)
    titles = {x.title.lower().replace(" ", "_"): "x", y.title.lower().replace(" ", "_"): "y"}
    if area is not None:
        titles[area.title.lower().replace(" ", "_")] = "size"
    said = {"tooltip": hint(model="model", **titles, on_the_front="front")}
    sized: Spec = {
        "size": {"field": "area", "type": "quantitative", "legend": None, "scale": {"zero": True, "range": [0, 900]}}
    }
    front = {"transform": [{"filter": {"field": "front", "equal": "yes"}}]}
    layers: list[Spec] = [
        {**table("spots"), **front, "mark": {"type": "line", "color": colour("line"), "strokeDash": [4, 3]},
         "encoding": {"x": horizontal, "y": vertical, "order": {"field": "x", "type": "quantitative"}}},
        *([_bar("x", horizontal, vertical, tint)] if any(spot.x.low is not None for spot in spots) else []),
        *([_bar("y", horizontal, vertical, tint)] if any(spot.y.low is not None for spot in spots) else []),
        {**table("spots"), "mark": {"type": "point", "filled": True, "size": 90, "opacity": 0.75},
         "encoding": {"x": horizontal, "y": vertical, "color": tint, "shape": _shape(words, area), **said,
                      **(sized if area is not None else {})}},
        {**table("spots"), "mark": {"type": "text", "align": "left", "dx": 11, "dy": -9, "color": colour("ink")},
         "encoding": {"x": horizontal, "y": vertical, "text": {"field": "model", "type": "nominal"}}},
    ]  # fmt: skip
    ahead = [spot.words for spot in spots if spot.front]
    better = " and ".join(f"{each.title.lower()} is better {each.better}" for each in (x, y))
    told = f"{', '.join(ahead)} on the front" if ahead else "no front is known"
    return Chart(
        name=chart_name("front", title),
        title=title,
        description=f"{title}: {x.title.lower()} against {y.title.lower()} of {', '.join(words)}; {told}; {better}.",
        tables=tables,
        specs={"": layered(layers if ahead else layers[1:], tables)},
        caption=f"Where {better}. The dashed line joins those that none beats in both."
        + ("" if area is None else f" Areas are proportional to {area.title.lower()}."),
        height=300,
    )


def _x(spot: Spot) -> Figure:
    return spot.x


def _y(spot: Spot) -> Figure:
    return spot.y


def _unit(indicator: IndicatorFacts, values: Sequence[float]) -> Scale:
    return unit_of(values, indicator.format, indicator.unit)


def _label(indicator: IndicatorFacts, unit: Scale) -> str:
    return f"{indicator.title.lower()} ({unit.unit})" if unit.unit else indicator.title.lower()


def _ends(name: str, figures: Sequence[Figure], unit: Scale) -> dict[str, list[float | None]]:
    parts = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {
        column: [
            None if (value := getattr(each, part)) is None else float(f"{value / unit.factor:.5g}") for each in figures
        ]
        for column, part in parts.items()
    }


def _bar(name: str, horizontal: Spec, vertical: Spec, tint: Spec) -> Spec:
    """The interval of one of both figures."""
    places: dict[str, Any] = {"x": horizontal, "y": vertical}
    places[name] = {**places[name], "field": f"{name}_low"}
    places[f"{name}2"] = {"field": f"{name}_high"}
    known = [{"filter": {"field": f"{name}_low", "valid": True}}]
    mark = {"type": "rule", "strokeWidth": 2, "opacity": 0.6}
    return {**table("spots"), "transform": known, "mark": mark, "encoding": {**places, "color": tint}}


def _tint(field: str, names: Sequence[str]) -> Spec:
    distinct = list(dict.fromkeys(names))
    colours = {"domain": distinct, "range": [series(number) for number in range(len(distinct))]}
    return {"field": field, "type": "nominal", "legend": None, "scale": colours}


def _shape(names: Sequence[str], area: IndicatorFacts | None) -> Spec:
    """Shapes tell models apart too, unless their areas are compared."""
    if area is not None:
        return {"value": "circle"}
    shapes = {"domain": list(names), "range": [SHAPES[number % len(SHAPES)] for number in range(len(names))]}
    return {"field": "model", "type": "nominal", "legend": None, "scale": shapes}

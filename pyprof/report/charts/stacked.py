"""Parts of a whole over length: areas above each other or, where there are one or two lengths only, bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyprof.report.charts.chart import Spec, axis, scale, table
from pyprof.report.charts.theme import colour

RELATIVE, ABSOLUTE = "relative", "absolute"
# Up to so many lengths a chart has something to point at on each.
_POINTED = 24
# Fewer lengths make no area.
_FEWEST = 3


def stacked(
    field: str,
    title: str,
    of: str,
    colours: Mapping[str, str],
    *,
    lengths: int,
    unit: str,
    top: float | None,
    tooltip: Spec,
) -> list[Spec]:
    """The layers of a chart of the table "rows", which has the columns length, order, `field` and `of`.

    `of` names the parts, which have these `colours` and are stacked by their order; `title` is that of the axis, and
    `unit` is what the lengths count. With a `top` the axis is absolute and ends there, without one it is of shares.
    """
    few = lengths < _FEWEST
    x: dict[str, Any] = dict(axis("length", f"length ({unit}s)", scale={"nice": False, "zero": False}))
    x["axis"] = {"grid": False, "tickCount": 5}
    if few:
        x = {"field": "length", "type": "ordinal", "title": f"length ({unit}s)", "axis": {"labelAngle": 0}}
    y: dict[str, Any] = dict(axis(field, title))
    y |= {"stack": "normalize", "axis": {"format": "%", "tickCount": 4}} if top is None else {
        "stack": "zero", "scale": scale(high=top), "axis": {"tickCount": 4}}  # fmt: skip
    parts = {"domain": list(colours), "range": list(colours.values())}
    encoding = {
        "x": x,
        "y": y,
        "color": {"field": of, "type": "nominal", "scale": parts, "legend": None},
        "order": {"field": "order", "type": "quantitative"},
    }
    edge = {"stroke": colour("ground"), "strokeWidth": 0.7}
    if few:
        return [{**table("rows"), "mark": {"type": "bar", **edge}, "encoding": {**encoding, **tooltip}}]
    layers: list[Spec] = [{**table("rows"), "mark": {"type": "area", **edge}, "encoding": encoding}]
    if lengths <= _POINTED:
        pointed = {"type": "bar", "opacity": 0, "width": 14}
        layers.append({**table("rows"), "mark": pointed, "encoding": {**encoding, **tooltip}})
    return layers

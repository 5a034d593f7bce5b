"""The same things by several measures, as lines from one to the next: where two lines cross, measures disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyprof.report.charts.chart import Chart, Columns, axis, hint, layered, rounded, scale, table, told_apart
from pyprof.report.charts.theme import colour

_HEIGHT = 320


@dataclass(frozen=True)
class Slope:
    """One thing at one of the places along the lines: its ratio to what all are held against, with its bounds."""

    name: str
    place: str
    ratio: float
    low: float | None = None
    high: float | None = None


def slopes_chart(name: str, title: str, slopes: Sequence[Slope], axis_title: str, *, caption: str = "") -> Chart:
    """A line for each thing over all places, in the order in which these come; ratios on a logarithmic axis."""
    places = list(dict.fromkeys(each.place for each in slopes))
    names = list(dict.fromkeys(each.name for each in slopes))
    bounded = [(each, each.low, each.high) for each in slopes if each.low is not None and each.high is not None]
    tables: Mapping[str, Columns] = {
        "slopes": {
            "name": [each.name for each in slopes],
            "place": [each.place for each in slopes],
            "ratio": [rounded(each.ratio) for each in slopes],
            "said": [_words(each) for each in slopes],
        },
        "bounds": {
            "name": [each.name for each, _, _ in bounded],
            "place": [each.place for each, _, _ in bounded],
            "low": [rounded(low) for _, low, _ in bounded],
            "high": [rounded(high) for _, _, high in bounded],
        },
    }
    x = {"field": "place", "type": "nominal", "title": None,
         "scale": {"type": "point", "padding": 0.6, "domain": places},
         "axis": {"labelAngle": 0, "labelLimit": 130, "labelColor": colour("ink"), "grid": True, "domain": False,
                  "ticks": False}}  # fmt: skip
    y = axis(
        "ratio", axis_title, scale={**scale("log"), "padding": 14}, axis={"format": "~g", "tickCount": 6, "grid": False}
    )
    legend = {"orient": "top", "title": None, "columns": 3, "labelLimit": 200}
    legend |= {"symbolOpacity": 1, "symbolStrokeWidth": 0}  # else symbols are as faint as bounds, and dashed as lines
    tint, dash, shape = told_apart("name", names, legend)
    spec = layered(
        [
            {**table("bounds"), "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.35},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": tint}},
            {**table("slopes"), "mark": {"type": "line", "strokeWidth": 2},
             "encoding": {"x": x, "y": y, "color": tint, "strokeDash": dash}},
            {**table("slopes"), "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
             "encoding": {"x": x, "y": y, "color": tint, "shape": shape,
                          "tooltip": hint(_="name", by="place", times="said")}},
        ],
        tables,
    )  # fmt: skip
    told = "; ".join(f"{each.name} by {each.place} {_words(each)}" for each in slopes[:16])
    return Chart(name, title, f"{title}. {told}.", tables, {"": spec}, caption=caption, height=_HEIGHT)


def _words(slope: Slope) -> str:
    bounds = "" if slope.low is None or slope.high is None else f" [{slope.low:.3g} to {slope.high:.3g}]"
    return f"{slope.ratio:.3g}{bounds}"

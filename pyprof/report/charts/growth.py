"""How a cost grows with the length: both axes logarithmic, so that a power of the length is a straight line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyprof.report.charts.chart import Chart, Columns, axis, hint, layered, scale, table
from pyprof.report.charts.theme import DASHES, SHAPES, series

_HEIGHT = 320


@dataclass(frozen=True)
class Growth:
    """The cost of one thing over lengths, and the power of the length that was fitted to it.

    `factor` times the length to the power of `exponent` is the fit; bounds of the exponent are None where there are
    none. `claimed` is what its source says, in words ("n log n").
    """

    name: str
    lengths: tuple[int, ...]
    costs: tuple[float, ...]
    factor: float
    exponent: float
    low: float | None = None
    high: float | None = None
    claimed: str = ""


def growth_chart(name: str, title: str, grown: Sequence[Growth], cost: str, unit: str, *, caption: str = "") -> Chart:
    """Points for what was measured or counted, a line for each fit over the same lengths; `cost` names the axis."""
    names = [each.name for each in grown]
    points = [(each, length, value) for each in grown for length, value in zip(each.lengths, each.costs, strict=True)]
    ends = [(each, length) for each in grown if each.lengths for length in (min(each.lengths), max(each.lengths))]
    tables: Mapping[str, Columns] = {
        "points": {
            "name": [each.name for each, _, _ in points],
            "length": [length for _, length, _ in points],
            "cost": [_round(value) for _, _, value in points],
            "grows": [_words(each) for each, _, _ in points],
        },
        "fits": {
            "name": [each.name for each, _ in ends],
            "length": [length for _, length in ends],
            "cost": [_round(each.factor * length**each.exponent) for each, length in ends],
        },
    }
    x = axis(
        "length",
        f"length ({unit}s)",
        scale={**scale("log"), "padding": 14},
        axis={"format": ",d", "tickCount": 6, "grid": False},
    )
    y = axis("cost", cost, scale={**scale("log"), "padding": 14}, axis={"format": "~s", "tickCount": 6})
    # All three alike, so that they are one legend.
    legend = {"orient": "right", "title": None, "labelLimit": 220}
    tint, dash, shape = (
        {"field": "name", "type": "nominal", "legend": legend, "scale": {"domain": names, "range": values}}
        for values in (
            [series(number) for number in range(len(names))],
            [list(DASHES[number % len(DASHES)]) for number in range(len(names))],
            [SHAPES[number % len(SHAPES)] for number in range(len(names))],
        )
    )
    spec = layered(
        [
            {**table("fits"), "mark": {"type": "line", "strokeWidth": 2, "opacity": 0.8},
             "encoding": {"x": x, "y": y, "color": tint, "strokeDash": dash}},
            {**table("points"), "mark": {"type": "point", "filled": True, "size": 46, "opacity": 1},
             "encoding": {"x": x, "y": y, "color": tint, "shape": shape,
                          "tooltip": hint(_="name", length="length", cost="cost", grows="grows")}},
        ],
        tables,
    )  # fmt: skip
    told = "; ".join(f"{each.name} {_words(each)}" for each in grown)
    return Chart(name, title, f"{title}. {told}.", tables, {"": spec}, caption=caption, height=_HEIGHT)


def _words(growth: Growth) -> str:
    bounds = "" if growth.low is None or growth.high is None else f" [{growth.low:.2f} to {growth.high:.2f}]"
    claimed = f", claimed {growth.claimed}" if growth.claimed else ""
    return f"as the length to the power of {growth.exponent:.2f}{bounds}{claimed}"


def _round(value: float) -> float:
    return float(f"{value:.5g}")

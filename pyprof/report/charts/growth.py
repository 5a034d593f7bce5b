"""How costs grow with the length: the power that fits each cost of each model, beside what its source claims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pyprof.analysis.growth import GrowthLine
from pyprof.report.charts.chart import NAMES, Chart, Columns, axis, hint, layered, rounded, table, told_apart
from pyprof.report.charts.names import chart_name
from pyprof.report.charts.theme import colour

_CAPTION = "The upright bar is the source's claim over the same lengths."
_CUT = " Intervals that reach beyond the chart are cut off."
_ENDS = "A pointer tells their ends."
_ROW = 24
_AROUND = 90


def growth_charts(lines: Sequence[GrowthLine], run: str = "") -> list[Chart]:
    """A chart for each mode: a row for each model, a point with its interval for each cost, a bar at the claim."""
    modes = list(dict.fromkeys(line.setting.mode for line in lines))
    return [_chart(mode, [line for line in lines if line.setting.mode == mode], run) for mode in modes]


def _chart(mode: str, lines: Sequence[GrowthLine], run: str) -> Chart:
    placed = sorted(lines, key=lambda line: (line.claimed.exponent, str(line.subject)))
    models = list(dict.fromkeys(str(line.subject) for line in placed))
    fitted = [(line, cost, growth) for line in placed for cost, growth in line.costs.items()]
    costs = list(dict.fromkeys(cost for _, cost, _ in fitted))
    tables: Mapping[str, Columns] = {
        "claims": {
            "model": [str(line.subject) for line in placed],
            "exponent": [rounded(line.claimed.exponent, 4) for line in placed],
            "said": [f"{line.complexity}: {line.claimed.exponent:.2f}" for line in placed],
        },
        "growths": {
            "model": [str(line.subject) for line, _, _ in fitted],
            "cost": [cost.replace("_", " ") for _, cost, _ in fitted],
            "exponent": [rounded(growth.exponent, 4) for _, _, growth in fitted],
            "low": [rounded(growth.low, 4) for _, _, growth in fitted],
            "high": [rounded(growth.high, 4) for _, _, growth in fitted],
            "said": [f"{each.exponent:.2f} [{each.low:.2f} to {each.high:.2f}]" for _, _, each in fitted],
        },
    }
    y = {"field": "model", "type": "nominal", "scale": {"domain": models}, "title": None, "axis": NAMES}
    low, high = _domain([line.claimed.exponent for line in placed] + [growth.exponent for _, _, growth in fitted])
    cut = any(growth.low < low or growth.high > high for _, _, growth in fitted)
    x = axis(
        "exponent",
        "exponent of the length, 95 % interval",
        axis={"tickCount": 8},
        scale={"nice": False, "zero": False, "domain": [low, high]},
    )
    words = [cost.replace("_", " ") for cost in costs]
    tint, _, shape = told_apart("cost", words, {"orient": "top", "title": None, "symbolOpacity": 1})
    spec = layered(
        [
            {**table("claims"), "mark": {"type": "tick", "color": colour("ink"), "thickness": 3, "size": 16},
             "encoding": {"x": x, "y": y, "tooltip": hint(_="model", claim="said")}},
            {**table("growths"), "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.45, "clip": True},
             "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": tint}},
            {**table("growths"), "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
             "encoding": {"x": x, "y": y, "color": tint, "shape": shape,
                          "tooltip": hint(_="model", cost="cost", exponent="said")}},
        ],
        tables,
    )  # fmt: skip
    told = "; ".join(f"{line.subject} {cost.replace('_', ' ')} {each.exponent:.2f}" for line, cost, each in fitted[:16])
    return Chart(
        name=chart_name("growth", mode, run),
        title=" · ".join(filter(None, (f"How costs grow, {mode}", run))),
        description=f"Exponents of the length that fit the costs of each model, {mode}: {told}.",
        tables=tables,
        specs={"": spec},
        caption=_CAPTION + (_CUT if cut else ""),
        pointer=_ENDS if cut else "",
        height=_ROW * len(models) + _AROUND,
    )


def _domain(exponents: Sequence[float]) -> tuple[float, float]:
    """From where to where exponents are drawn, whatever their intervals: of three lengths these reach far out."""
    return math.floor(2 * min(exponents) - 1) / 2, math.ceil(2 * max(exponents) + 1) / 2

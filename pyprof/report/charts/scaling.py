"""A quality that was printed against what a model costs: a line for each way of making it larger, as the paper draws it
(Dehghani et al., "The Efficiency Misnomer", ICLR 2022, Figure 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pyprof.records.indicator import IndicatorFacts
from pyprof.report.charts.chart import Chart, Columns, Group, axis, hint, layered, rounded, table, told_apart
from pyprof.report.charts.names import chart_name
from pyprof.report.charts.theme import colour
from pyprof.report.style import figure
from pyprof.report.view import ModalityView
from pyprof.report.view_printed import PrintedFigure

_HEIGHT = 280
# What the paper draws, in its order: ours where it was measured, and the time that it prints.
_COSTS = ("parameters", "flops", "macs", "latency", "device_time")
_CAPTION = (
    "The quality is the publication's. By parameters and operations deeper models look better, by time wider ones may: "
    "compare the order of the lines from chart to chart."
)
# By a model: its cost and what a pointer says of it.
_Costs = Mapping[str, tuple[float, str]]


def scaling_groups(part: ModalityView, indicators: Sequence[IndicatorFacts], run: str = "") -> list[Group]:
    """A chart for each cost of the models that the publication scaled in several ways; nothing where it did not."""
    quality = {each.column.model: each for each in part.printed if each.quality}
    ways = list(dict.fromkeys(each.series for each in quality.values() if each.series))
    if len(ways) < 2:
        return []
    charts = [
        _chart(name, title, costs, quality, ways, run) for name, title, costs in _all_costs(part, indicators, quality)
    ]
    title = " · ".join(filter(None, ("Quality against each cost, by the way of scaling", run)))
    return [Group(chart_name("scaling", part.name, run), title, tuple(charts), caption=_CAPTION, wide=True)]


def _all_costs(
    part: ModalityView, indicators: Sequence[IndicatorFacts], quality: Mapping[str, PrintedFigure]
) -> Iterator[tuple[str, str, _Costs]]:
    """The name and title of each cost that two models have, and their figures."""
    known = {each.name: each for each in indicators}
    for name in _COSTS:
        indicator = known.get(name)
        costs = {} if indicator is None else _measured(part, indicator, quality)
        if indicator is not None and len(costs) > 1:
            yield name, f"{indicator.title} ({indicator.unit})", costs
    for name in dict.fromkeys(each.name for each in part.printed if not each.quality and each.name not in known):
        costs = {each.column.model: (each.printed, f"{each.printed:g}") for each in part.printed if each.name == name}
        yield name, f"Printed: {name}", {model: cost for model, cost in costs.items() if model in quality}


def _measured(part: ModalityView, indicator: IndicatorFacts, quality: Mapping[str, PrintedFigure]) -> _Costs:
    """Ours in inference at the length that was printed."""
    found: dict[str, float] = {}
    if indicator.name == "parameters":
        found = {line.column.model: float(line.fewest) for line in part.models if line.fewest is not None}
    for each in part.tables:
        if each.metric != indicator.name or each.mode != "infer":
            continue
        for row in each.rows:
            for column, cell in zip(each.columns, row.cells, strict=True):
                printed = quality.get(column.model)
                if printed is not None and printed.length == row.length and cell.value is not None:
                    found.setdefault(column.model, cell.value)
    return {model: (value, figure(indicator, value)) for model, value in found.items() if model in quality}


def _chart(
    name: str, title: str, costs: _Costs, quality: Mapping[str, PrintedFigure], ways: Sequence[str], run: str
) -> Chart:
    models = sorted(costs, key=lambda model: (ways.index(quality[model].series), costs[model][0]))
    what = quality[models[0]].name
    tables: Mapping[str, Columns] = {
        "models": {
            "model": models,
            "way": [quality[model].series for model in models],
            "cost": [rounded(costs[model][0]) for model in models],
            "quality": [quality[model].printed for model in models],
            "said": [costs[model][1] for model in models],
        }
    }
    # Of a small figure an m for thousandths would be read as a unit.
    written = "~s" if max(cost for cost, _ in costs.values()) >= 1000 else "~g"
    x = axis(
        "cost", title, scale={"type": "log", "nice": False, "padding": 20}, axis={"format": written, "tickCount": 5}
    )
    y = axis("quality", what, scale={"type": "linear", "zero": False, "padding": 16}, axis={"tickCount": 6})
    tint, dash, shape = told_apart("way", ways, {"orient": "top", "title": None})
    spec = layered(
        [
            {**table("models"), "mark": {"type": "line", "strokeWidth": 2},
             "encoding": {"x": x, "y": y, "color": tint, "strokeDash": dash,
                          "order": {"field": "cost", "type": "quantitative"}}},
            {**table("models"), "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
             "encoding": {"x": x, "y": y, "color": tint, "shape": shape,
                          "tooltip": hint(_="model", cost="said", quality="quality")}},
            {**table("models"), "mark": {"type": "text", "align": "left", "dx": 7, "dy": 8, "fontSize": 10,
                                         "color": colour("faint")},
             "encoding": {"x": x, "y": y, "text": {"field": "model", "type": "nominal"}}},
        ],
        tables,
    )  # fmt: skip
    told = "; ".join(f"{model} {costs[model][1]}, {quality[model].printed:g}" for model in models)
    return Chart(
        name=chart_name("scaling", name, run),
        title=title,
        description=f"{what} against {title}, a line for each way of scaling ({' and '.join(ways)}): {told}.",
        tables=tables,
        specs={"": spec},
        height=_HEIGHT,
    )

"""Which model costs least from which length: a bar for each mode and sense, in the colours of the models."""

from __future__ import annotations

from collections.abc import Sequence

from pyprof.report.charts.chart import NAMES, Chart, Spec, axis, hint, layered, scale, table
from pyprof.report.charts.names import chart_name, column_words
from pyprof.report.charts.theme import colour, series
from pyprof.report.view import Column, LeastLine, ModalityView

UNDECIDED = "several"


def least_charts(run: str, part: ModalityView) -> list[Chart]:
    """A chart for each indicator of which more than one length is known; none where there is only one."""
    lines: dict[str, list[LeastLine]] = {}
    for line in part.least:
        if line.reigns:
            lines.setdefault(line.metric, []).append(line)
    return [] if part.one_length else [_chart(run, part, own) for own in lines.values()]


def leaders_words(leaders: Sequence[Column]) -> str:
    """Who costs least: with the implementations where two are of one model."""
    models = [column.model for column in leaders]
    alike = len(set(models)) < len(models)
    return " or ".join(column_words(column) if alike else column.model for column in leaders)


def _words(line: LeastLine) -> str:
    return ", ".join(filter(None, (line.name, line.mode, line.setting)))


def _chart(run: str, part: ModalityView, lines: Sequence[LeastLine]) -> Chart:
    indicator = lines[0].indicator
    reigns = [(line, reign) for line in lines for reign in line.reigns]
    columns = [column for each in part.tables for column in each.columns]
    leading = [column for _, reign in reigns for column in reign.leaders]
    tints = {model: number for number, model in enumerate(dict.fromkeys(each.model for each in (*columns, *leading)))}
    sole = [leaders_words(reign.leaders) if len(reign.leaders) == 1 else UNDECIDED for _, reign in reigns]
    named = [name for name in dict.fromkeys(sole) if name != UNDECIDED]
    domain = [*named, UNDECIDED]
    of = {leaders_words(reign.leaders): reign.leaders[0].model for _, reign in reigns if len(reign.leaders) == 1}
    colours = [*(series(tints[of[name]]) for name in named), colour("line")]
    words = list(dict.fromkeys(map(_words, lines)))
    most = "is fastest" if indicator.format == "time" else "has most" if indicator.better == "higher" else "takes least"
    title = f"{indicator.title}: which model {most}"
    told = "; ".join(
        f"{_words(line)}: " + ", ".join(
            f"{reign.shortest:,} to {reign.longest:,} {leaders_words(reign.leaders)}" for reign in line.reigns
        )
        for line in lines
    )  # fmt: skip
    return Chart(
        name=chart_name("least", part.name, indicator.name, run),
        title=" · ".join(filter(None, (title, run))),
        description=f"{title} over length ({part.unit}s): {told}.",
        tables={
            "reigns": {
                "line": [_words(line) for line, _ in reigns],
                "leader": sole,
                "who": [leaders_words(reign.leaders) for _, reign in reigns],
                "from": [reign.shortest for _, reign in reigns],
                "to": [reign.longest for _, reign in reigns],
            }
        },
        specs={"": _spec(part, words, domain, colours)},
        caption="Bars end at measured lengths. Grey: several cost the same, or the intervals do not show which of them "
        "costs less.",
        pointer="A pointer tells their names.",
        height=26 * len(words) + 20,
    )


def _spec(part: ModalityView, words: Sequence[str], domain: Sequence[str], colours: Sequence[str]) -> Spec:
    low, high = part.lengths[0], part.lengths[-1]
    x = dict(axis("from", f"length ({part.unit}s), logarithmic", scale={**scale("log", low, high), "padding": 8}))
    x["axis"] = {"format": ",d", "tickCount": 6, "grid": False}
    y = {
        "field": "line",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(words)},
        "axis": NAMES,
    }
    tint = {
        "field": "leader",
        "type": "nominal",
        "scale": {"domain": list(domain), "range": list(colours)},
        "legend": {"orient": "top", "title": None, "symbolType": "stroke", "symbolStrokeWidth": 9, "columns": 4},
    }
    said = {"tooltip": hint(who="who", from_="from", to="to")}
    bar: Spec = {
        **table("reigns"),
        "mark": {"type": "rule", "strokeWidth": 12, "strokeCap": "round"},
        "encoding": {"x": x, "x2": {"field": "to"}, "y": y, "color": tint, **said},
    }
    return layered([bar], {})

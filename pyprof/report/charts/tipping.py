"""Tipping points over length, with their intervals, beside what was published and the mean lengths of data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyprof.report.charts.chart import NAMES, Chart, Columns, Spec, axis, hint, layered, scale, table
from pyprof.report.charts.names import chart_name
from pyprof.report.charts.theme import colour, series
from pyprof.report.style import Glyphs
from pyprof.report.tipping_table import plain_verdict
from pyprof.report.view import Axis, ModalityView, TippingLine

_LINE = 23
SETS = "data sets (mean)"

Run = tuple[str, ModalityView]


def tipping_charts(runs: Sequence[Run]) -> list[Chart]:
    """A chart for each indicator that has a tipping point, or a published one, in one modality."""
    lines: dict[str, list[tuple[str, TippingLine]]] = {}
    for run, part in runs:
        for line in part.tipping:
            lines.setdefault(line.metric, []).append((run, line))
    first = next((part for _, part in runs if part.axis is not None), None)
    if first is None or first.axis is None:
        return []
    return [
        _chart(first, first.axis, own)
        for own in lines.values()
        if own[0][1].indicator.headline or any(line.tipping.crossing or line.published for _, line in own)
    ]


def _words(run: str, line: TippingLine) -> str:
    comparison = line.comparison
    sense = ", ".join(filter(None, (comparison.sense, line.mode, line.setting, run)))
    return f"{comparison.variant} ({sense})"


def _chart(part: ModalityView, whole: Axis, lines: Sequence[tuple[str, TippingLine]]) -> Chart:
    first = lines[0][1]
    words = list(dict.fromkeys(_words(run, line) for run, line in lines))
    variants = list(dict.fromkeys(line.comparison.variant for _, line in lines))
    verdicts = {_words(run, line): plain_verdict(line, Glyphs()).plain for run, line in lines}
    found = "; ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
    title = f"{first.indicator.title}: the length from which a variant costs less"
    finding = first.published
    tables = {"points": _points(lines, whole), "verdicts": _verdicts(lines, whole), "sets": _sets(whole)}
    if finding is not None and finding.low is not None and finding.high is not None:
        tables["published"] = {"low": [finding.low], "high": [finding.high]}
    said = "The shaded range is the published one of 2023. " if "published" in tables else ""
    marks = ", ".join(f"{each.name} {each.length:,}" for each in _inside(whole))
    said += f"Triangles are mean lengths of data sets: {marks}." if marks else ""
    return Chart(
        name=chart_name("tipping", part.name, first.metric),
        title=title,
        description=f"{title}, in {part.unit}s: {found}. {said}".strip(),
        tables=tables,
        specs={"": _spec(part, whole, words, variants, tables)},
        caption=said,
        height=_LINE * (len(words) + bool(tables["sets"]["length"])),
    )


def _points(lines: Sequence[tuple[str, TippingLine]], whole: Axis) -> Columns:
    columns: dict[str, list[Any]] = {
        name: [] for name in ("line", "variant", "length", "low", "high", "from_", "to", "costs")
    }
    for run, line in lines:
        for crossing in line.tipping.crossings or filter(None, (line.tipping.crossing,)):
            low, high = crossing.low, crossing.high
            for name, value in zip(
                columns,
                (
                    _words(run, line),
                    line.comparison.variant,
                    round(crossing.length),
                    low if low is not None else line.shortest or whole.low,
                    high if high is not None else line.longest or whole.high,
                    "open" if low is None else f"{low:,}",
                    "open" if high is None else f"{high:,}",
                    "less" if crossing.gains else "more",
                ),
                strict=True,
            ):
                columns[name].append(value)
    return columns


def _verdicts(lines: Sequence[tuple[str, TippingLine]], whole: Axis) -> Columns:
    """The words where there is no crossing to be drawn."""
    rest = [
        (_words(run, line), plain_verdict(line, Glyphs()).plain)
        for run, line in lines
        if not line.tipping.crossings and line.tipping.crossing is None
    ]
    return {
        "line": [words for words, _ in rest],
        "at": [whole.low for _ in rest],
        "verdict": ["not measured long enough" if said in ("?", "no time") else said for _, said in rest],
    }


def _inside(whole: Axis) -> list[Any]:
    return [each for each in whole.data_sets if whole.low <= each.length <= whole.high]


def _sets(whole: Axis) -> Columns:
    inside = _inside(whole)
    return {
        "length": [each.length for each in inside],
        "data_set": [each.name for each in inside],
        "row": [SETS for _ in inside],
    }


def _spec(
    part: ModalityView, whole: Axis, words: Sequence[str], variants: Sequence[str], tables: Mapping[str, Columns]
) -> Spec:
    x = dict(axis("length", f"length ({part.unit}s), logarithmic", scale=scale("log", whole.low, whole.high)))
    x["axis"] = {"format": ",d", "tickCount": 6}
    y = {
        "field": "line",
        "type": "nominal",
        "sort": list(words),
        "title": None,
        "scale": {"domain": [*words, *([SETS] if tables["sets"]["length"] else [])]},
        "axis": NAMES,
    }
    tint = {
        "field": "variant",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(variants), "range": [series(number + 1) for number in range(len(variants))]},
    }
    said = {"tooltip": hint(variant="line", costs="costs", starting_at="length", from_="from_", to="to")}
    band: Spec = {
        **table("published"),
        "mark": {"type": "rect", "color": colour("line"), "opacity": 0.22},
        "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}},
    }
    return layered(
        [
            *([band] if "published" in tables else []),
            {
                **table("points"),
                "mark": {"type": "rule", "strokeWidth": 4, "opacity": 0.5},
                "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": tint},
            },
            {
                **table("points"),
                "mark": {"type": "point", "size": 70, "opacity": 1, "strokeWidth": 2},
                "encoding": {"x": x, "y": y, "color": tint, "fill": _filled(tint), **said},
            },
            {
                **table("points"),
                "mark": {"type": "text", "dy": -9, "color": colour("ink"), "fontSize": 11},
                "encoding": {"x": x, "y": y, "text": {"field": "length", "type": "quantitative", "format": ",d"}},
            },
            {
                **table("verdicts"),
                "mark": {"type": "text", "align": "left", "dx": 4, "color": colour("faint"), "fontSize": 11},
                "encoding": {"x": {**x, "field": "at"}, "y": y, "text": {"field": "verdict", "type": "nominal"}},
            },
            {
                **table("sets"),
                "mark": {"type": "point", "shape": "triangle-up", "filled": True, "color": colour("faint"), "size": 45},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "row"},
                    "opacity": {"value": 1},
                    "tooltip": hint(data_set="data_set", mean_length="length"),
                },
            },
        ],
        tables,
    )


def _filled(tint: Spec) -> Spec:
    """A point is hollow where a variant begins to cost more."""
    return {"condition": {**tint, "test": "datum.costs === 'less'"}, "value": colour("ground")}

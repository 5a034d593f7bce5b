"""Two runs beside each other: what a case costs in the later one in units of the earlier one, over length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyprof.report.charts.chart import Chart, Columns, Group, axis, hint, layered, rounded, scale, table
from pyprof.report.charts.names import Lines, chart_name, column_words
from pyprof.report.charts.theme import colour
from pyprof.report.view import DifferenceLine


def difference_groups(lines: Sequence[DifferenceLine]) -> list[Group]:
    """A group for each pair of runs, modality and indicator, a chart for each mode."""
    groups: dict[tuple[str, str, str], dict[str, list[DifferenceLine]]] = {}
    for line in lines:
        place = line.before, line.after, f"{line.modality} {line.metric}"
        groups.setdefault(place, {}).setdefault(line.mode, []).append(line)
    made = []
    for number, ((before, after, _), modes) in enumerate(groups.items()):
        every = [line for own in modes.values() for line in own]
        drawn = Lines.of(line.column for line in every)
        charts = tuple(_chart(number, own, drawn) for own in modes.values())
        title = f"{every[0].modality.capitalize()}, {every[0].indicator.title.lower()}: {after} in units of {before}"
        caption = "Below 1 the later run costs less; bands are 95 % intervals, of readings that were not taken in turn."
        made.append(Group(chart_name("difference", number), title, charts, drawn.keys(), caption, True))
    return made


def _chart(number: int, lines: Sequence[DifferenceLine], drawn: Lines) -> Chart:
    first = lines[0]
    points = [(column_words(line.column), point) for line in lines for point in line.points]
    told = "; ".join(
        f"{column_words(line.column)} {line.points[0].ratio:.3g} to {line.points[-1].ratio:.3g}" for line in lines
    )
    x = dict(axis("length", f"length ({first.unit}s)", scale=scale("log")))
    x["axis"] = {"format": ",d", "tickCount": 6, "grid": False}
    y = dict(axis("ratio", f"times the cost in {first.before}"[:60], scale=scale("log")))
    y["axis"] = {"format": "~f", "tickCount": 5}
    tint = {"field": "line", "type": "nominal", "scale": drawn.colour(), "legend": None}
    dash = {"field": "line", "type": "nominal", "scale": drawn.dash(), "legend": None}
    shape = {"field": "line", "type": "nominal", "scale": drawn.shape(), "legend": None}
    said = {"tooltip": hint(line="line", length="length", ratio="ratio", from_="low", to="high")}
    tables: Mapping[str, Columns] = {
        "points": {
            "line": [words for words, _ in points],
            "length": [point.length for _, point in points],
            "ratio": [rounded(point.ratio, 4) for _, point in points],
            "low": [None if point.low is None else rounded(point.low, 4) for _, point in points],
            "high": [None if point.high is None else rounded(point.high, 4) for _, point in points],
        }
    }
    spec = layered(
        [
            {"data": {"values": [{"one": 1}]}, "mark": {"type": "rule", "color": colour("ink"), "strokeDash": [4, 3]},
             "encoding": {"y": {"field": "one", "type": "quantitative"}}},
            {**table("points"), "transform": [{"filter": {"field": "low", "valid": True}}],
             "mark": {"type": "area", "opacity": 0.18},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": tint}},
            {**table("points"), "mark": {"type": "line", "strokeWidth": 2},
             "encoding": {"x": x, "y": y, "color": tint, "strokeDash": dash}},
            {**table("points"), "mark": {"type": "point", "filled": True, "size": 42, "opacity": 1},
             "encoding": {"x": x, "y": y, "color": tint, "shape": shape, **said}},
        ],
        tables,
    )  # fmt: skip
    return Chart(
        name=chart_name("difference", number, first.mode),
        title=first.mode,
        description=f"{first.indicator.title}, {first.mode}, {first.after} in units of {first.before}: {told}.",
        tables=tables,
        specs={"": spec},
        height=260,
    )

"""What each model costs over length: lines with bands of their intervals, and where one begins to cost less."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyprof.analysis.curves import ALLOCATOR_WORDS
from pyprof.quantity import plural
from pyprof.report.charts.chart import (
    NAMES,
    Chart,
    Choice,
    Columns,
    Group,
    Spec,
    axis,
    hint,
    layered,
    rounded,
    scale,
    table,
)
from pyprof.report.charts.names import Lines, chart_name, line_words
from pyprof.report.charts.theme import colour
from pyprof.report.style import Scale, interval
from pyprof.report.style import scale as unit_of
from pyprof.report.view import ModalityView, Table, TippingLine

LINEAR, LOGARITHMIC = "linear", "logarithmic"
# Up to so many lengths every measured point is drawn.
_POINTS = 40
FAILED = ("oom", "timeout", "error")

Run = tuple[str, ModalityView]
# A table with the run and the modality that it is of.
Placed = tuple[str, ModalityView, Table]


def curve_groups(runs: Sequence[Run]) -> list[Group]:
    """A group for each indicator over length, a chart in it for each mode and setting."""
    lines = Lines.of(
        (column for _, part in runs for each in part.tables for column in each.columns), [run for run, _ in runs]
    )
    metrics = dict.fromkeys(each.metric for _, part in runs for each in part.tables)
    heads = {metric: _places(runs, metric) for metric in metrics}
    groups = []
    for metric, places in heads.items():
        charts = [
            chart
            for number, (place, tables) in enumerate(places.items())
            if (chart := _chart(tables, lines, ", ".join(filter(None, place)), number)) is not None
        ]
        if charts:
            part, indicator = runs[0][1], next(iter(places.values()))[0][2].indicator
            title = indicator.title + (f" {indicator.scope}" if indicator.scope else "")
            used = _used(lines, (each for tables in places.values() for each in tables))
            caption = f"{indicator.meaning[:1].upper()}{indicator.meaning[1:]}." if indicator.meaning else ""
            groups.append(
                Group(
                    chart_name(part.name, metric), title, tuple(charts), used.keys(), caption.replace("..", "."), True
                )
            )
    return groups


def _places(runs: Sequence[Run], metric: str) -> dict[tuple[str, str], list[Placed]]:
    """The tables of one indicator by mode and setting, of all runs: one that knows a single setting lies over all."""
    places: dict[tuple[str, str], list[Placed]] = {}
    for mode in dict.fromkeys(each.mode for _, part in runs for each in part.tables if each.metric == metric):
        own = [
            [(run, part, each) for each in part.tables if (each.metric, each.mode) == (metric, mode)]
            for run, part in runs
        ]
        settings = dict.fromkeys(each.setting for tables in own if len(tables) > 1 for _, _, each in tables) or {
            "": None
        }
        for setting in settings:
            chosen = [placed for tables in own for placed in tables if len(tables) == 1 or placed[2].setting == setting]
            places[mode, setting if len(runs) > 1 or len(settings) > 1 else chosen[0][2].setting] = chosen
    return places


def _used(lines: Lines, tables: Iterable[Placed]) -> Lines:
    """Those lines that these tables have something of."""
    words = {line_words(column, run) for run, _, each in tables for column in each.columns}
    chosen = [number for number, each in enumerate(lines.words) if each in words]
    return Lines(
        tuple(lines.words[number] for number in chosen),
        tuple(lines.colours[number] for number in chosen),
        tuple(lines.dashes[number] for number in chosen),
    )


def _chart(shown: Sequence[Placed], lines: Lines, title: str, number: int) -> Chart | None:
    _, part, first = shown[0]
    cells = [cell for _, _, each in shown for row in each.rows for cell in row.cells]
    values = [cell.value for cell in cells if cell.value is not None]
    if not values:
        return None
    unit = unit_of(values, first.indicator.format, first.unit)
    marks = [mark for run, own, each in shown for mark in _crossings(run, own, each)]
    rows, missing, waiting = _rows(shown, unit), _missing(shown), _rows(shown, unit, launch_bound=True)
    tables: Mapping[str, Columns] = {
        "rows": rows,
        "crossings": _columns(marks),
        "missing": missing,
        "waiting": {name: waiting[name] for name in ("line", "length", "value")},
    }
    # Runs on different machines can lie far from each other.
    kinds = (LOGARITHMIC, LINEAR) if shown[0][0] else (LINEAR, LOGARITHMIC)
    few = len(set(rows["length"])) <= _POINTS
    label = f"{first.indicator.title.lower()} ({unit.unit})" if unit.unit else first.indicator.title.lower()
    specs = {
        kind: _one_length(lines, label, rows, tables)
        if len(set(rows["length"])) == 1
        else _spec(kind, lines, f"length ({first.length_unit}s)", label, few, tables)
        for kind in kinds
    }
    return Chart(
        name=chart_name("cost", part.name, first.metric, first.mode, number),
        title=title,
        description=_description(first, part, marks),
        tables=tables,
        specs=specs,
        choices=(Choice("axes", kinds),),
        caption=_caption(marks, part.unit, missing, waiting),
        height=300,
    )


def _rows(tables: Iterable[Placed], unit: Scale, *, launch_bound: bool = False) -> Columns:
    """The points of all lines, or those of them alone that are launch-bound."""
    columns: dict[str, list[Any]] = {name: [] for name in ("line", "length", "value", "low", "high")}
    for run, _, each in tables:
        for index, column in enumerate(each.columns):
            words = line_words(column, run)
            for row in each.rows:
                cell = row.cells[index]
                if cell.value is not None and (cell.launch_bound or not launch_bound):
                    values = (_short(value, unit) for value in (cell.value, cell.low, cell.high))
                    for name, value in zip(columns, (words, row.length, *values), strict=True):
                        columns[name].append(value)
    return columns


def _short(value: float | None, unit: Scale) -> float | None:
    return None if value is None else rounded(value / unit.factor)


def _missing(tables: Iterable[Placed]) -> Columns:
    """The cases that failed, which have no point."""
    failed = [
        (line_words(column, run), row.length, row.cells[index].status)
        for run, _, each in tables
        for index, column in enumerate(each.columns)
        for row in each.rows
        if row.cells[index].status in FAILED and row.cells[index].value is None
    ]
    lines, lengths, statuses = zip(*failed, strict=True) if failed else ((), (), ())
    return {"line": lines, "length": lengths, "status": statuses}


def _low(rows: Columns) -> float | None:
    positive = [value for value in (*rows["low"], *rows["value"]) if value is not None and value > 0]
    return min(positive, default=None)


def _spec(kind: str, lines: Lines, length: str, label: str, few: bool, tables: Mapping[str, Columns]) -> Spec:
    log, low = kind == LOGARITHMIC, _low(tables["rows"])
    own = scale("log") if log else scale()
    x = dict(axis("length", length, scale=own))
    x["axis"] = {"grid": False, "tickCount": 6, "format": ",d"}
    y = dict(axis("value", label, scale=scale("log", low=low) if log else own))
    y["axis"] = {"tickCount": 5, "format": ",~f"}
    tint = {"field": "line", "type": "nominal", "scale": lines.colour(), "legend": None}
    dash = {"field": "line", "type": "nominal", "scale": lines.dash(), "legend": None}
    shape = {"field": "line", "type": "nominal", "scale": lines.shape(), "legend": None}
    said = {"tooltip": hint(line="line", length="length", **{label.replace(" ", "_"): "value"}, from_="low", to="high")}
    band: Spec = {
        **table("rows"),
        "transform": [{"filter": {"field": "low", "valid": True}}],
        "mark": {"type": "area", "opacity": 0.18},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": tint},
    }
    return layered(
        [
            *_crossing_layers(lines),
            band if any(value is not None for value in tables["rows"]["low"]) else {},
            {
                **table("rows"),
                "mark": {"type": "line", "strokeWidth": 2},
                "encoding": {"x": x, "y": y, "color": tint, "strokeDash": dash},
            },
            _waiting_layer(x, y, 150 if few else 40),
            {
                **table("rows"),
                "mark": {"type": "point", "filled": True, "size": 42 if few else 12, "opacity": 1 if few else 0},
                "encoding": {"x": x, "y": y, "color": tint, "shape": shape, **said},
            },
            {
                **table("missing"),
                "mark": {"type": "text", "text": "×", "fontSize": 15, "fontWeight": "bold", "y": 6},
                "encoding": {
                    "x": x,
                    "color": tint,
                    "tooltip": hint(line="line", length="length", failed="status"),
                },
            },
        ],
        tables,
    )


def _one_length(lines: Lines, label: str, rows: Columns, tables: Mapping[str, Columns]) -> Spec:
    """Where there is one length only: a point for each line, with its interval."""
    x = dict(axis("value", label, scale=scale()))
    x["axis"] = {"tickCount": 5, "format": ",~f"}
    y = {"field": "line", "type": "nominal", "title": None, "axis": NAMES, "sort": list(lines.words)}
    tint = {"field": "line", "type": "nominal", "scale": lines.colour(), "legend": None}
    shape = {"field": "line", "type": "nominal", "scale": lines.shape(), "legend": None}
    said = {"tooltip": hint(line="line", length="length", **{label.replace(" ", "_"): "value"}, from_="low", to="high")}
    span: Spec = {
        **table("rows"),
        "transform": [{"filter": {"field": "low", "valid": True}}],
        "mark": {"type": "rule", "strokeWidth": 4, "opacity": 0.4},
        "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y, "color": tint},
    }
    point: Spec = {
        **table("rows"),
        "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
        "encoding": {"x": x, "y": y, "color": tint, "shape": shape, **said},
    }
    bounded = any(value is not None for value in rows["low"])
    return layered([span if bounded else {}, _waiting_layer(x, y, 260), point], tables)


def _waiting_layer(x: Spec, y: Spec, size: int) -> Spec:
    """A diamond around each point of a step that waits for its launches."""
    return {
        **table("waiting"),
        "mark": {
            "type": "point",
            "shape": "diamond",
            "filled": False,
            "strokeWidth": 1,
            "size": size,
            "color": colour("ink"),
        },
        "encoding": {"x": x, "y": y, "tooltip": hint(line="line", length="length")},
    }


def _crossing_layers(lines: Lines) -> list[Spec]:
    x: Mapping[str, Any] = {"field": "length", "type": "quantitative"}
    tint = {"field": "line", "type": "nominal", "scale": lines.colour(), "legend": None}
    said = {"tooltip": hint(costs_less_from="length", against="against", sense="sense", from_="low", to="high")}
    return [
        {
            **table("crossings"),
            "mark": {"type": "rect", "opacity": 0.09},
            "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": tint},
        },
        {
            **table("crossings"),
            "mark": {"type": "rule", "strokeWidth": 1.5, "strokeDash": [3, 3]},
            "encoding": {"x": x, "color": tint, **said},
        },
        {
            **table("crossings"),
            "mark": {"type": "text", "y": -6, "fontSize": 11, "color": colour("ink")},
            "encoding": {"x": x, "text": {"field": "mark", "type": "nominal"}, **said},
        },
    ]


def _crossings(run: str, part: ModalityView, each: Table) -> list[tuple[TippingLine, str]]:
    """The tipping points that belong to a table, each with the words of its variant's line."""
    chosen = []
    for line in part.tipping:
        comparison = line.comparison
        if (line.metric, line.mode) != (each.metric, each.mode) or line.tipping.crossing is None:
            continue
        own = (ALLOCATOR_WORDS.get(comparison.allocator, comparison.allocator), comparison.dtype)
        rest = [word for word in each.setting.split(", ") if word and word not in own]
        if rest == [word for word in line.setting.split(", ") if word]:
            column = next(
                (column for column in each.columns
                 if (column.model, column.how) == (comparison.variant, comparison.variant_how)),
                None,
            )  # fmt: skip
            if column is not None:
                chosen.append((line, line_words(column, run)))
    return chosen


def _columns(marks: Sequence[tuple[TippingLine, str]]) -> Columns:
    crossings = [(line, words, line.tipping.crossing) for line, words in marks if line.tipping.crossing is not None]
    return {
        "mark": [str(number + 1) for number in range(len(crossings))],
        "line": [words for _, words, _ in crossings],
        "against": [f"{line.comparison.vanilla} {line.comparison.vanilla_how}" for line, _, _ in crossings],
        "sense": [line.comparison.sense for line, _, _ in crossings],
        "length": [round(crossing.length) for _, _, crossing in crossings],
        "low": [crossing.low if crossing.low is not None else line.shortest for line, _, crossing in crossings],
        "high": [crossing.high if crossing.high is not None else line.longest for line, _, crossing in crossings],
    }


def _caption(marks: Sequence[tuple[TippingLine, str]], unit: str, missing: Columns, waiting: Columns) -> str:
    said = []
    for number, (line, words) in enumerate(marks):
        crossing = line.tipping.crossing
        if crossing is not None:
            against = f"{line.comparison.vanilla} {line.comparison.vanilla_how}"
            said.append(
                f"{number + 1} {words} costs less than {against} from {crossing.length:,.0f} "
                f"{interval(crossing.low, crossing.high)} {unit}s ({line.comparison.sense})"
            )
    sentences = ["; ".join(said) + ("." if said else "")]
    if missing["length"]:
        sentences.append("× a case that failed.")
    if waiting["length"]:
        sentences.append("◇ launch-bound: the device works for less than half of it.")
    return " ".join(filter(None, sentences))


def _description(each: Table, part: ModalityView, marks: Sequence[tuple[TippingLine, str]]) -> str:
    """Every line's ends in words, and the tipping points."""
    said = []
    for index, column in enumerate(each.columns):
        known = [(row.length, row.cells[index].value) for row in each.rows if row.cells[index].value is not None]
        if known:
            values = [value for _, value in known if value is not None]
            unit = unit_of(values, each.indicator.format, each.unit)
            ends = " to ".join(
                dict.fromkeys(f"{unit.number(value)} {unit.unit}".strip() for value in (values[0], values[-1]))
            )
            lengths = " to ".join(dict.fromkeys(f"{length:,}" for length in (known[0][0], known[-1][0])))
            waiting = sum(row.cells[index].launch_bound for row in each.rows)
            bound = f", launch-bound at {waiting} of {plural(len(known), 'length')}" if waiting else ""
            said.append(f"{line_words(column)} {ends} at {lengths} {part.unit}s{bound}")
    tips = _caption(marks, part.unit, {"length": ()}, {"length": ()})
    return f"{each.indicator.title} over length, {each.mode}: {'; '.join(said)}. {tips}".strip()

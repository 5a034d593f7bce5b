"""Where the time goes over length: the kinds of layers stacked, as shares and as times, for each model and mode."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyprof.analysis.shares import OUTSIDE, ShareRow, rank
from pyprof.records.published import DataSet
from pyprof.report.charts.chart import (
    Chart,
    Choice,
    Columns,
    Group,
    Key,
    Spec,
    hint,
    layered,
    rounded,
    table,
)
from pyprof.report.charts.names import chart_name, column_words, mark_letters
from pyprof.report.charts.stacked import ABSOLUTE, RELATIVE, stacked
from pyprof.report.charts.theme import colour, kind_colours
from pyprof.report.clock import host_only
from pyprof.report.style import Scale
from pyprof.report.style import scale as unit_of
from pyprof.report.view import ModalityView, ShareChart

_DIRECTIONS = {"forward and backward": "both", "forward": "forward", "backward": "backward"}
_DEVICE = "device time"
# As many letters fit beside each other above a chart.
_LETTERS = 24

Run = tuple[str, ModalityView]


def share_group(runs: Sequence[Run]) -> Group | None:
    """The charts of one modality, of one or several runs; None where no layer was timed."""
    every = [(run, chart, mode) for run, part in runs for chart in part.shares for mode in _modes(chart)]
    if not every:
        return None
    part = runs[0][1]
    kinds = sorted({kind for _, chart, mode in every for row in _rows(chart, mode) for kind in row.shares}, key=rank)
    unit = unit_of([_longest(chart, mode) for _, chart, mode in every], "time")
    tops = {
        mode: max(_longest(chart, own) for _, chart, own in every if own == mode) / unit.factor
        for mode in dict.fromkeys(mode for _, _, mode in every)
    }
    choices = _choices([row for _, chart, mode in every for row in _rows(chart, mode)])
    charts = []
    for number, (run, chart, mode) in enumerate(every):
        words = " · ".join(filter(None, (f"{column_words(chart.column)}, {mode}", chart.setting, run)))
        tables = {"rows": _columns(_rows(chart, mode), kinds, unit), "marks": _marks(part, chart, mode)}
        charts.append(
            Chart(
                name=chart_name("shares", part.name, number),
                title=words,
                description=_description(words, chart, mode, part.unit),
                tables=tables,
                specs={
                    "|".join(options): _spec(options, kinds, part, _rows(chart, mode), unit, tops[mode], tables)
                    for options in itertools.product(*(choice.options for choice in choices))
                },
                choices=choices,
                height=190,
            )
        )
    keys = tuple(Key(kind, each) for kind, each in zip(kinds, kind_colours(kinds), strict=True))
    return Group(chart_name("shares", part.name), part.name.capitalize(), tuple(charts), keys, _caption(runs))


def _modes(chart: ShareChart) -> list[str]:
    return list(dict.fromkeys(mode for row in chart.rows for mode in row.modes))


def _rows(chart: ShareChart, mode: str) -> list[ShareRow]:
    return [row.modes[mode] for row in chart.rows if mode in row.modes]


def _longest(chart: ShareChart, mode: str) -> float:
    return max(row.seconds for row in _rows(chart, mode))


def _choices(rows: Iterable[ShareRow]) -> tuple[Choice, ...]:
    """What can be chosen: the direction where a backward was seen, the clock where a device has its own."""
    rows = list(rows)
    parts = list(_DIRECTIONS) if any(row.backward for row in rows) else ["all"]
    parts += [_DEVICE] if any(row.device for row in rows) else []
    shown = (Choice("show", tuple(parts)),) if len(parts) > 1 else ()
    return (Choice("scale", (RELATIVE, ABSOLUTE)), *shown)


def _columns(rows: Sequence[ShareRow], kinds: Sequence[str], unit: Scale) -> Columns:
    """A row for each length and kind, in the unit of the charts."""

    def seconds(values: Iterable[float]) -> list[float]:
        return [rounded(value / unit.factor, 4) for value in values]

    pairs = [(row, kind) for row in rows for kind in kinds]
    columns: dict[str, Sequence[Any]] = {
        "length": [row.length for row, _ in pairs],
        "kind": [kind for _, kind in pairs],
        "order": [kinds.index(kind) for _, kind in pairs],
        "share": [rounded(row.shares.get(kind, 0.0), 4) for row, kind in pairs],
        "both": seconds(row.seconds * row.shares.get(kind, 0.0) for row, kind in pairs),
    }
    if any(row.backward for row in rows):
        columns["forward"] = seconds(row.forward.get(kind, 0.0) for row, kind in pairs)
        columns["backward"] = seconds((row.backward or {}).get(kind, 0.0) for row, kind in pairs)
    if any(row.device for row in rows):
        columns["device"] = seconds((row.device or {}).get(kind, 0.0) for row, kind in pairs)
    return columns


def _marks(part: ModalityView, chart: ShareChart, mode: str) -> Columns:
    """The mean lengths of data sets, where the chart has lengths."""
    lengths = [row.length for row in _rows(chart, mode)]
    inside = [(name, each) for name, each in _lettered(part) if lengths[0] <= each.length <= lengths[-1]]
    inside = inside if len(lengths) > 2 else []
    levels: list[int] = []
    for number, (_, each) in enumerate(inside):
        near = number and each.length - inside[number - 1][1].length < (lengths[-1] - lengths[0]) / _LETTERS
        levels.append((levels[-1] + 1) % 3 if near else 0)
    return {
        "length": [each.length for _, each in inside],
        "letter": [letter for letter, _ in inside],
        "data_set": [each.name for _, each in inside],
        "level": levels,
    }


def _lettered(part: ModalityView) -> list[tuple[str, DataSet]]:
    sets = () if part.axis is None else part.axis.data_sets
    return [(mark_letters(number), each) for number, each in enumerate(sets)]


def _spec(
    options: Sequence[str],
    kinds: Sequence[str],
    part: ModalityView,
    rows: Sequence[ShareRow],
    unit: Scale,
    top: float,
    tables: Mapping[str, Columns],
) -> Spec:
    """One chart as chosen: areas over length or, where there are one or two lengths only, bars."""
    relative, shown = options[0] == RELATIVE, options[1] if len(options) > 1 else "all"
    field = "device" if shown == _DEVICE else _DIRECTIONS.get(shown, "both")
    if field != "both" and not _has(rows, field):
        # A forward alone is the whole of an inference; what was not seen has no chart.
        field = "both" if field == "forward" else "nothing"
    tooltip = {
        "tooltip": hint(length="length", kind="kind", share_of_the_step="share", **{f"time_({unit.unit})": "both"})
    }
    layers = stacked(
        field,
        "share of the step" if relative else f"time ({unit.unit})",
        "kind",
        dict(zip(kinds, kind_colours(kinds), strict=True)),
        lengths=len(rows),
        unit=part.unit,
        top=None if relative else top,
        tooltip=tooltip,
    )
    return layered([*layers, *_marked(tables)], tables)


def _marked(tables: Mapping[str, Columns]) -> list[Spec]:
    x = {"field": "length", "type": "quantitative"}
    said = {"tooltip": hint(data_set="data_set", mean_length="length")}
    rule = {"type": "rule", "strokeDash": [2, 2], "color": colour("ink"), "opacity": 0.75}
    text = {"x": x, "text": {"field": "letter", "type": "nominal"}, **said}
    letters = [
        {
            **table("marks"),
            "transform": [{"filter": {"field": "level", "equal": level}}],
            "mark": {"type": "text", "y": -6 - 9 * level, "fontSize": 9, "color": colour("ink")},
            "encoding": text,
        }
        for level in sorted(set(tables["marks"]["level"]))
    ]
    return [{**table("marks"), "mark": rule, "encoding": {"x": x, **said}}, *letters]


def _has(rows: Iterable[ShareRow], field: str) -> bool:
    return any(getattr(row, field) for row in rows) if field != "forward" else any(row.backward for row in rows)


def _description(words: str, chart: ShareChart, mode: str, unit: str) -> str:
    rows = _rows(chart, mode)
    first, last = rows[0], rows[-1]

    def most(row: ShareRow) -> str:
        largest = sorted(row.shares.items(), key=lambda each: -each[1])[:3]
        return ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in largest)

    ends = f"at {first.length:,} {unit}s {most(first)}"
    if last is not first:
        ends += f"; at {last.length:,} {unit}s {most(last)}"
    return f"Shares of a step by kind of layer, {words}: {ends}."


def _caption(runs: Sequence[Run]) -> str:
    """What the letters and the kinds mean."""
    said = []
    marks = ", ".join(f"{letter} {each.name} {each.length:,}" for letter, each in _lettered(runs[0][1]))
    if marks:
        said.append(
            f"Dashed lines are mean lengths of data sets ({runs[0][1].unit}s): {marks}; only those within a chart's "
            "lengths."
        )
    rows = [row for _, part in runs for chart in part.shares for line in chart.rows for row in line.modes.values()]
    if any(OUTSIDE in row.shares for row in rows):
        said.append(
            f"“{OUTSIDE}” is the part of a step outside of every layer, the loss for instance; it has no direction."
        )
    if any(row.device for row in rows):
        said.append("Times are the host's, of which device time is what the GPU's kernels, copies and memsets took.")
    if (missing := host_only(chart for _, part in runs for chart in part.shares)) is not None:
        said.append(missing)
    return " ".join(said)


def kinds_of(parts: Iterable[ModalityView]) -> Mapping[str, str]:
    """Every kind of layer that occurs, with its colour, in the order of charts."""
    kinds = {kind for part in parts for chart in part.shares for line in chart.rows
             for row in line.modes.values() for kind in row.shares}  # fmt: skip
    ordered = sorted(kinds, key=rank)
    return dict(zip(ordered, kind_colours(ordered), strict=True))

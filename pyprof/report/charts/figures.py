"""The charts of runs for a paper: the study's Figure 1 (where time goes) and Figure 2 (what it costs), and the rest."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyprof.records.run_directory import Run
from pyprof.report.charts.arena import arena_charts, score_charts
from pyprof.report.charts.chart import Chart, Group, Key, Spec, rows
from pyprof.report.charts.curves import LOGARITHMIC, curve_groups
from pyprof.report.charts.differences import difference_groups
from pyprof.report.charts.disagreement import disagreement_groups
from pyprof.report.charts.growth import growth_charts
from pyprof.report.charts.least import least_charts
from pyprof.report.charts.names import chart_name
from pyprof.report.charts.parts import part_groups
from pyprof.report.charts.render import PAGE, Format, draw, image, standing
from pyprof.report.charts.scaling import scaling_groups
from pyprof.report.charts.shares import share_group
from pyprof.report.charts.theme import colour
from pyprof.report.charts.tipping import tipping_charts
from pyprof.report.page.trees import middle_trees
from pyprof.report.several import Several, several
from pyprof.report.short_names import ShortNames
from pyprof.report.view import ModalityView

# Charts beside each other, and how high one of them is, in points.
_BESIDE, _HIGH = 3, 110
# That many characters of a caption fit into the width of a page.
_CHARACTERS = 140

_Run = tuple[str, ModalityView]


def write_figures(runs: Sequence[Run], directory: Path, format: Format) -> Iterator[Path]:
    """Write all pictures of runs into a directory, and tell each path when it is written.

    figure1-MODALITY has the shares of all models over length, figure2-MODALITY what they cost, linear and with
    logarithmic axes; the others are what a page has besides, and the layers of one case of each model. Raises
    UsageError where vl-convert is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    told = several(runs)
    readable = ShortNames.of_views(told.views).within(told)
    pictures = ((name, draw(spec, format)) for name, spec in figures(readable).items())
    for name, picture in (*pictures, *_trees(runs, told, format)):
        path = directory / f"{name}.{format}"
        path.write_bytes(picture)
        yield path


def figures(told: Several) -> dict[str, Spec]:
    """The specifications of all pictures over length by name, each standing by itself."""
    made: dict[str, Spec] = {}
    for own in told.by_modality():
        name = own[0][1].name
        shares = share_group(own)
        if shares is not None:
            made[f"figure1-{name}"] = _beside(shares)
        groups = curve_groups(own)
        if groups:
            made[f"figure2-{name}"] = _stacked(groups)
            made[f"figure2-{name}-log"] = _stacked(groups, LOGARITHMIC)
        made |= {each.name: _beside(each) for each in part_groups(own)}
        singles = [*tipping_charts(own), *(each for run, part in own for each in least_charts(run, part))]
        singles += [
            chart
            for run, part in own
            for disagreeing in disagreement_groups(part, told.views[0].indicators, run)
            for chart in disagreeing.charts
        ]
        singles += [
            chart
            for run, part in own
            for scaled in scaling_groups(part, told.views[0].indicators, run if len(told.views) > 1 else "")
            for chart in scaled.charts
        ]
        made |= _alone(singles)
    names = told.names if len(told.views) > 1 else [""]
    for run, view in zip(names, told.views, strict=True):
        made |= _alone(growth_charts(view.growth, run))
        made |= _alone(score_charts(view.scores, run))
        made |= _alone(arena_charts(view.arena, run))
    groups = difference_groups(told.differences)
    if groups:
        made["differences"] = _stacked(groups)
    return made


def _alone(charts: Iterable[Chart]) -> dict[str, Spec]:
    """Charts that stand by themselves, each with its caption."""
    return {each.name: {**standing(each, each.spec, PAGE, each.height), "title": _title(each)} for each in charts}


def _trees(runs: Sequence[Run], told: Several, format: Format) -> Iterator[tuple[str, bytes]]:
    """The layers of one case of each model, implementation and mode."""
    for name, run, view in zip(told.names, runs, told.views, strict=True):
        for chart in middle_trees(run, view):
            whole = chart_name(chart.name, name) if len(runs) > 1 else chart.name
            yield whole, image(chart, format, width=PAGE, height=chart.height)


def _beside(group: Group, option: str | None = None) -> dict[str, Any]:
    """The charts of a group in rows, with one legend for all."""
    tables: dict[str, Any] = {}
    beside = 2 if group.wide else _BESIDE
    charts = [_part(chart, option, tables, beside) for chart in group.charts]
    grid = {"concat": charts, "columns": beside, "spacing": 14}
    return {"title": _title(group), "vconcat": [_legend(group.keys), grid], "spacing": 8, "datasets": tables}


def _stacked(groups: Sequence[Group], option: str | None = None) -> dict[str, Any]:
    """Groups below each other."""
    parts = [_beside(group, option) for group in groups]
    tables = {name: table for part in parts for name, table in part.pop("datasets").items()}
    return {"vconcat": parts, "spacing": 24, "datasets": tables}


def _title(named: Group | Chart, characters: int = _CHARACTERS, size: int = 11) -> dict[str, Any]:
    """What stands above, with the caption broken into lines as wide as the picture."""
    return {
        "text": named.title,
        "fontSize": size,
        "subtitle": textwrap.wrap(named.caption, characters),
        "subtitleColor": colour("faint"),
        "subtitleFontSize": 7,
        "subtitleLineHeight": 9,
    }


def _part(chart: Chart, option: str | None, tables: dict[str, Any], beside: int) -> dict[str, Any]:
    """A chart as a part of a figure: its tables have names of their own."""
    spec = chart.spec if option is None else chart.chosen(option)
    for name, columns in chart.tables.items():
        tables[f"{chart.name} {name}"] = rows(columns)
    width = PAGE // beside - 50
    return {
        "title": _title(chart, width // 3, 9),
        "layer": [_own(layer, chart.name) for layer in spec["layer"]],
        "width": width,
        "height": _HIGH,
    }


def _own(layer: Mapping[str, Any], chart: str) -> dict[str, Any]:
    data = layer["data"]
    return {**layer, "data": {"name": f"{chart} {data['name']}"} if "name" in data else data}


def _legend(keys: Sequence[Key]) -> dict[str, Any]:
    """A legend for all charts of a figure, as marks at their places; those of Vega-Lite belong to one chart each."""
    long = max((len(key.words) for key in keys), default=1) * 5 + 30
    across = max(PAGE // long, 1)
    entries: list[dict[str, Any]] = [
        {"x": long * (number % across), "y": 12 * (number // across) + 6, "words": key.words, "colour": key.colour,
         "dashes": list(key.dashes or (1, 0))}
        for number, key in enumerate(keys)
    ]  # fmt: skip
    ends = [{**each, "x2": each["x"] + 18, "text": each["x"] + 23} for each in entries]

    def at(field: str) -> dict[str, Any]:
        return {"field": field, "type": "quantitative", "scale": None, "axis": None}

    def plain(field: str) -> dict[str, Any]:
        return {"field": field, "type": "nominal", "scale": None, "legend": None}

    lines = any(key.dashes for key in keys)
    stroke: dict[str, Any] = {"x": at("x"), "x2": {"field": "x2"}, "y": at("y"), "color": plain("colour")}
    if lines:
        stroke["strokeDash"] = plain("dashes")
    return {
        "width": PAGE - 60,
        "height": 12 * -(-len(entries) // across),
        "data": {"values": ends},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 2 if lines else 8}, "encoding": stroke},
            {
                "mark": {"type": "text", "align": "left", "baseline": "middle", "fontSize": 9, "color": colour("ink")},
                "encoding": {"x": at("text"), "y": at("y"), "text": {"field": "words", "type": "nominal"}},
            },
        ],
    }

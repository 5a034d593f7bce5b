"""The layers of one step as an icicle: as wide as the time of each, below it what it calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyprof.quantity import format_seconds
from pyprof.report.charts.chart import Chart, Columns, Spec
from pyprof.report.charts.theme import colour

_ROW = 26
# What stands below a tree on a page.
READING = (
    "A layer is as wide as its time{both}, and what it calls lies below it: where nothing does, the time is its own. "
    "Click a layer to widen it, the first one to go back; by keyboard, arrows move, Enter widens and Escape goes back."
)
# How strong the colour of a layer is that calls no other: names on it can be read, light and dark.
LEAF = 0.45


def tree_spec(kinds: Mapping[str, str]) -> Spec:
    """A Vega specification over a table "layers" with the columns id, parent, name, path, type, kind, calls,
    parameters, own and total (times in microseconds), share (of 1) and memory; a click on a layer makes it as wide as
    the picture, one on the root shows all again; page/tree_keys.js does the same by the keyboard.
    """
    seen = "(min(scale('x', datum.x1), width) - max(scale('x', datum.x0), 0))"
    zoom = {"signal": "focus ? [focus.x0, focus.x1] : [0, width]"}
    said = (
        "{title: datum.path || datum.name, 'type': datum.type, 'kind': datum.kind, "
        f"'time with what it calls': {_time('total')}, 'own time': {_time('own')}, "
        "'share of the step': format(datum.share, '.1%'), 'calls': format(datum.calls, ',.3~g'), "
        "'parameters': format(datum.parameters, ',d'), 'their memory': datum.memory}"
    )
    words = (
        f"(datum.path || datum.name) + ', ' + datum.kind + ', ' + ({_time('total')}) + ', ' + "
        "format(datum.share, '.1%') + ' of the step'"
    )
    rect = {
        "x": {"scale": "x", "field": "x0"},
        "x2": {"scale": "x", "field": "x1"},
        "y": {"field": "y0"},
        "y2": {"field": "y1"},
    }
    return {
        "padding": 2,
        "autosize": {"type": "none"},
        "signals": [
            {
                "name": "focus",
                "value": None,
                "on": [{"events": "@cell:click", "update": "datum.depth ? {x0: datum.x0, x1: datum.x1} : null"}],
            }
        ],
        "data": [
            {
                "name": "layers",
                "transform": [
                    {"type": "stratify", "key": "id", "parentKey": "parent"},
                    {
                        "type": "partition",
                        "field": "own",
                        "sort": {"field": "data.id"},
                        "size": [{"signal": "width"}, {"signal": "height"}],
                        "padding": 0,
                    },
                ],
            },
            {"name": "seen", "source": "layers", "transform": [{"type": "filter", "expr": "datum.x1 - datum.x0 > 0"}]},
        ],
        "scales": [
            {"name": "x", "type": "linear", "domain": zoom, "range": [0, {"signal": "width"}], "zero": False},
            {"name": "kind", "type": "ordinal", "domain": list(kinds), "range": list(kinds.values())},
        ],
        "marks": [
            {
                "type": "group",
                "clip": True,
                "encode": {"enter": {"width": {"signal": "width"}, "height": {"signal": "height"}}},
                "marks": [
                    {
                        "name": "cell",
                        "type": "rect",
                        "from": {"data": "seen"},
                        "encode": {
                            "enter": {
                                "stroke": {"value": colour("ground")},
                                "strokeWidth": {"value": 0.7},
                                "cursor": {"value": "pointer"},
                            },
                            "update": {
                                **rect,
                                "fill": {"scale": "kind", "field": "kind"},
                                "fillOpacity": {"signal": f"datum.children ? 0.25 : {LEAF}"},
                                "tooltip": {"signal": said},
                                "description": {"signal": words},
                                "ariaRole": {"value": "treeitem"},
                                "ariaRoleDescription": {"value": "layer"},
                            },
                        },
                    },
                    {
                        "type": "text",
                        "from": {"data": "seen"},
                        "interactive": False,
                        "encode": {
                            "enter": {
                                "baseline": {"value": "middle"},
                                "fill": {"value": colour("ink")},
                                "fontSize": {"value": 11},
                            },
                            "update": {
                                "x": {"signal": "max(scale('x', datum.x0), 0) + 3"},
                                "y": {"signal": "(datum.y0 + datum.y1) / 2"},
                                "text": {"field": "name"},
                                "limit": {"signal": f"{seen} - 5"},
                                "opacity": {"signal": f"{seen} > 26 ? 1 : 0"},
                            },
                        },
                    },
                ],
            }
        ],
    }


def tree_chart(name: str, title: str, layers: Columns, kinds: Mapping[str, str], *, caption: str = "") -> Chart:
    """The icicle of one case; the columns are those that `tree_spec` names, the root first."""
    return Chart(
        name=name,
        title=title,
        description=_description(title, layers),
        tables={"layers": layers},
        specs={"": tree_spec(kinds)},
        caption=caption,
        height=_ROW * depth(layers["id"], layers["parent"]),
        language="vega",
    )


def depth(ids: Sequence[Any], parents: Sequence[Any]) -> int:
    """How many layers lie below each other at most; a layer stands behind its parent."""
    levels: dict[Any, int] = {}
    for id, parent in zip(ids, parents, strict=True):
        levels[id] = 1 if parent is None else levels[parent] + 1
    return max(levels.values(), default=1)


def _time(column: str) -> str:
    """The expression of a time in the unit that suits it."""
    return " : ".join(
        f"{f'datum.{column} >= {size} ? ' if size > 1 else ''}format(datum.{column} / {size}, ',.4~r') + ' {unit}'"
        for unit, size in (("s", 1_000_000), ("ms", 1_000), ("µs", 1))
    )


def _description(title: str, layers: Columns) -> str:
    ranked = sorted(zip(layers["own"], layers["path"], strict=True), key=lambda each: -each[0])[:5]
    longest = ", ".join(f"{path or 'the model itself'} {format_seconds(1e-6 * own)}" for own, path in ranked)
    return f"Layers of a step as a tree, {title}. The longest own times: {longest}."

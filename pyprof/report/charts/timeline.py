"""One step over time: a bar for each call of a layer and each stretch of its backward, inside of what it is part of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyprof.quantity import format_seconds
from pyprof.report.charts.chart import Chart, Columns, axis, hint, layered, rounded, table
from pyprof.report.charts.theme import colour
from pyprof.report.charts.tree import LEAF
from pyprof.report.style import plural

if TYPE_CHECKING:
    from pyprof.traces.timeline import Bar, Timeline

# What a browser draws at once, the longest bars first.
MOST_BARS = 4_000
_ROW = 17
# A bar of less than this share of the step has no room for its name.
_NAMED = 0.06
_STEP = "outside"
# Moving and widening the time by the pointer; a wheel alone scrolls the page.
_ZOOM = {
    "name": "time",
    "select": {"type": "interval", "encodings": ["x"], "zoom": "wheel![event.shiftKey]"},
    "bind": "scales",
}


def timeline_chart(timeline: Timeline, kinds: Mapping[str, str]) -> Chart:
    """The bars by row, coloured by kind of layer; what is of no layer has the colour of what is outside."""
    bars = sorted(timeline.bars, key=_longest_first)[:MOST_BARS]
    end = max((each.end for each in timeline.bars), default=0.0)
    unit, size = next(((unit, size) for unit, size in _UNITS if end >= size), _UNITS[-1])
    wide = [each for each in bars if each.end - each.begin > _NAMED * end]
    tables: Mapping[str, Columns] = {
        "bars": {
            "begin": [rounded(each.begin / size, 6) for each in bars],
            "end": [rounded(each.end / size, 6) for each in bars],
            "top": [each.row for each in bars],
            "bottom": [each.row + 0.88 for each in bars],
            "name": [each.name for each in bars],
            "phase": [each.phase for each in bars],
            "kind": [each.kind or _STEP for each in bars],
            "took": [format_seconds(each.end - each.begin) for each in bars],
        },
        "names": {
            "begin": [rounded(each.begin / size, 6) for each in wide],
            "middle": [each.row + 0.47 for each in wide],
            "words": [each.name.rsplit(".", 1)[-1] for each in wide],
        },
        "lanes": {
            "row": [each.row + 0.5 for each in timeline.lanes],
            "words": [each.name for each in timeline.lanes],
        },
    }
    x = axis("begin", f"time ({unit})", axis={"grid": False}, scale={"nice": False})
    rows = {"domain": [timeline.rows, 0], "nice": False, "zero": False}
    y = axis("top", None, axis=None, scale=rows)
    tint = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": list(kinds), "range": list(kinds.values())},
        "legend": None,
    }
    said = hint(layer="name", phase="phase", kind="kind", took="took", begins="begin")
    spec = layered(
        [
            {
                **table("bars"),
                "params": [_ZOOM],
                "mark": {"type": "rect", "stroke": colour("ground"), "strokeWidth": 0.3, "clip": True,
                         "opacity": LEAF},
                "encoding": {"x": x, "x2": {"field": "end"}, "y": y, "y2": {"field": "bottom"}, "color": tint,
                             "tooltip": said},
            },
            {
                **table("names"),
                "mark": {"type": "text", "align": "left", "baseline": "middle", "dx": 3, "fontSize": 10, "clip": True,
                         "color": colour("ink")},
                "encoding": {"x": x, "y": {"field": "middle", "type": "quantitative", "scale": rows},
                             "text": {"field": "words", "type": "nominal"}},
            },
            {
                **table("lanes"),
                "mark": {"type": "text", "align": "left", "baseline": "middle", "color": colour("faint"),
                         "fontSize": 11, "clip": True, "limit": 900},
                "encoding": {"x": {"value": 2}, "y": {"field": "row", "type": "quantitative", "scale": rows},
                             "text": {"field": "words", "type": "nominal"}},
            },
        ],
        tables,
    )  # fmt: skip
    left_out = len(timeline.bars) - len(bars)
    more = f" {plural(left_out, 'short bar')} left out: a trace (--trace) has them all." if left_out else ""
    return Chart(
        name="timeline",
        title="One step over time",
        description=f"One step of {format_seconds(end)} over time. {_longest(timeline)}",
        tables=tables,
        specs={"": spec},
        caption=f"Drag to move, shift and wheel to zoom.{more}",
        height=max(_ROW * timeline.rows, 60),
    )


_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))


def _longest_first(bar: Bar) -> float:
    return bar.begin - bar.end


def _longest(timeline: Timeline) -> str:
    inner = [each for each in timeline.bars if each.kind is not None]
    longest = sorted(inner, key=_longest_first)[:3]
    return "The longest: " + ", ".join(f"{each.name} {format_seconds(each.end - each.begin)}" for each in longest) + "."

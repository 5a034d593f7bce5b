"""The page of the profiling overhead: how much longer a step takes under each tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyprof.quantity import format_seconds
from pyprof.report.charts.intervals import Line, intervals_chart
from pyprof.report.page.document import simple_page
from pyprof.report.page.judged import doubt
from pyprof.report.page.markup import Markup, Part, grid, tag
from pyprof.report.style import device_line

if TYPE_CHECKING:
    from pyprof.overhead import ModeResult, Overhead, Row
    from pyprof.report.charts.chart import Chart

_OURS = "pyprof"


def overhead_page(overhead: Overhead) -> str:
    """The page of what each tool costs; raises UsageError where vl-convert is not installed."""
    setup = overhead.request.setup
    what = f"{setup.model} {setup.size}, {setup.length:,} {overhead.unit}s, batch {setup.batch}, {setup.dtype}"
    said: list[Part] = [
        tag("p", what, tag("br"), tag("span", device_line(overhead.environment, setup.device), class_="faint")),
        *(doubt(mode.trust, mode.mode) for mode in overhead.modes),
        *(_table(mode) for mode in overhead.modes),
        *(tag("p", note, class_="faint") for note in dict.fromkeys(n for mode in overhead.modes for n in mode.notes)),
    ]
    charts = [chart for mode in overhead.modes if (chart := _chart(mode)) is not None]
    return simple_page(f"pyprof: profiling overhead on {setup.model}", said, charts)


def _chart(mode: ModeResult) -> Chart | None:
    lines = [
        Line(row.tool, 100 * (row.ratio.value - 1), _percent(row.ratio.low), _percent(row.ratio.high), _slower(row),
             "series-0" if row.tool == _OURS else "series-6")
        for row in mode.rows
        if row.ratio is not None
    ]  # fmt: skip
    if not lines:
        return None
    caption = (
        "Every round takes a step with each tool and one without a profiler; figures are of the ratios in a round."
    )
    scale = {"type": "symlog", "constant": 1}
    title = f"{mode.mode}: how much longer a step takes"
    return intervals_chart(f"overhead-{mode.mode}", title, lines, "percent longer, 95 % interval", at=0.0, scale=scale,
                           caption=caption)  # fmt: skip


def _table(mode: ModeResult) -> Markup:
    rows = [
        [
            row.tool,
            _slower(row) if row.ratio else tag("span", row.reason or row.status, class_="faint"),
            "" if row.call is None else f"{row.call.undisturbed:,.0f} ns",
            "" if row.event_bytes is None else f"{row.event_bytes:,.0f} B",
        ]
        for row in mode.rows
    ]
    step = "" if mode.step is None else f", a step without a profiler takes {format_seconds(mode.step.value)}"
    heads = ["tool", "step slower", "added a call", "kept a call"]
    return grid(heads, rows, caption=f"{mode.mode}, {mode.attention}{step}")


def _slower(row: Row) -> str:
    if row.ratio is None:
        return ""
    low, high = _percent(row.ratio.low), _percent(row.ratio.high)
    bounds = "" if low is None or high is None else f" [{low:.2f} to {high:.2f}]"
    return f"{100 * (row.ratio.value - 1):.2f} %{bounds}"


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else 100 * (ratio - 1)

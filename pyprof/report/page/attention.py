"""The page of a comparison of attention kernels: the time of each over the length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pyprof.quantity import format_seconds
from pyprof.report.charts.chart import Chart, Columns, Key, axis, hint, layered, rounded, scale, table, told_apart
from pyprof.report.charts.theme import DASHES, series
from pyprof.report.page.document import legend, simple_page
from pyprof.report.page.judged import doubt
from pyprof.report.page.markup import Markup, Part, grid, tag
from pyprof.report.style import device_line

if TYPE_CHECKING:
    from pyprof.attention import Comparison, ProblemResult
    from pyprof.attention.result import Row


def attention_page(comparison: Comparison) -> str:
    """The page of a comparison; raises UsageError where vl-convert is not installed."""
    grid_of = comparison.grid
    impls = list(dict.fromkeys(row.impl for result in comparison.results for row in result.rows))
    shape = f"batch {grid_of.batch}, {grid_of.heads} heads of {grid_of.head_dim}"
    shape += f", global keys {grid_of.global_keys}" if grid_of.global_keys else ""
    said: list[Part] = [
        tag("p", f"Sliding-window attention, {shape}", tag("br"),
            tag("span", device_line(comparison.environment, grid_of.device), class_="faint")),
        None if comparison.complete else tag("p", "Stopped before the last measurement.", class_="care"),
        doubt(comparison.trust),
        *(tag("p", f"No kernel times: {why}.", class_="care")
          for why in dict.fromkeys(result.no_records for result in comparison.results if result.no_records)),
        legend(Key(impl, series(number), tuple(DASHES[number % len(DASHES)])) for number, impl in enumerate(impls)),
    ]  # fmt: skip
    groups: dict[tuple[str, tuple[int, int], str], list[ProblemResult]] = {}
    for result in comparison.results:
        groups.setdefault((result.problem.dtype, result.problem.window, result.mode), []).append(result)
    charts = [_chart(number, key, own, impls) for number, (key, own) in enumerate(groups.items())]
    return simple_page("pyprof: sliding-window attention", [*said, *_tables(groups)], charts)


_Group = Mapping[tuple[str, tuple[int, int], str], Sequence["ProblemResult"]]


def _chart(
    number: int, key: tuple[str, tuple[int, int], str], results: Sequence[ProblemResult], impls: Sequence[str]
) -> Chart:
    """A line for each implementation: medians in milliseconds with their intervals, both axes logarithmic."""
    dtype, window, mode = key
    measured = [
        (result.problem.length, row.impl, row.seconds)
        for result in results
        for row in result.rows
        if row.seconds is not None
    ]
    bounded = [(length, impl, *each.interval) for length, impl, each in measured if each.interval is not None]
    tables: Mapping[str, Columns] = {
        "times": {
            "length": [length for length, _, _ in measured],
            "kernel": [impl for _, impl, _ in measured],
            "milliseconds": [_milliseconds(each.value) for _, _, each in measured],
            "time": [format_seconds(each.value) for _, _, each in measured],
        },
        "intervals": {
            "length": [length for length, _, _, _ in bounded],
            "kernel": [impl for _, impl, _, _ in bounded],
            "low": [_milliseconds(low) for _, _, low, _ in bounded],
            "high": [_milliseconds(high) for _, _, _, high in bounded],
        },
    }
    lengths = sorted({result.problem.length for result in results})
    x = axis("length", "length (tokens)", scale=scale("log"), axis={"format": ",d", "values": lengths, "grid": False})
    y = axis("milliseconds", "time of a call (ms)", scale=scale("log"), axis={"format": "~g", "tickCount": 5})
    tint, dash, shape = told_apart("kernel", impls, None)
    spec = layered(
        [
            {**table("intervals"),
             "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.5},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": tint}},
            {**table("times"), "mark": {"type": "line", "strokeWidth": 2},
             "encoding": {"x": x, "y": y, "color": tint, "strokeDash": dash}},
            {**table("times"), "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
             "encoding": {"x": x, "y": y, "color": tint, "shape": shape,
                          "tooltip": hint(kernel="kernel", length="length", time="time")}},
        ],
        tables,
    )  # fmt: skip
    title = f"{mode}, window {window[0]} + {window[1]}, {dtype}"
    told = "; ".join(f"{impl} at {length:,} {format_seconds(each.value)}" for length, impl, each in measured[:12])
    return Chart(f"attention-{number}", title, f"Time of a call over the length, {title}: {told}.", tables, {"": spec})


def _tables(groups: _Group) -> Iterator[Markup]:
    """All figures, a table for each window, type and mode."""
    for (dtype, window, mode), results in groups.items():
        on_device = any(row.host_seconds is not None for result in results for row in result.rows)
        rows = [
            [f"{result.problem.length:,}", row.impl, *_figures(row), *(_of_device(row) if on_device else ())]
            for result in results
            for row in result.rows
        ]
        heads = ["length", "kernel", "time", "times the first", "extra memory", "times eager's error"]
        heads += ["host's time", "of bound", "timed by"] if on_device else []
        caption = f"{mode}, window {window[0]} + {window[1]}, {dtype}"
        yield tag("details", tag("summary", f"Figures: {caption}"), grid(heads, rows, caption=caption))


def _figures(row: Row) -> list[Part]:
    if row.seconds is None:
        return [tag("span", row.reason or row.status, class_="faint"), "", "", ""]
    bounds = "" if row.seconds.interval is None else f" [{' to '.join(map(format_seconds, row.seconds.interval))}]"
    memory = "" if row.extra_bytes is None else f"{row.extra_bytes / 2**20:,.1f} MiB"
    times = None if row.accuracy is None else row.accuracy.times_eager
    error = "" if times is None else f"{times:.2g}"
    return [
        f"{format_seconds(row.seconds.value)}{bounds}",
        "" if row.against is None else f"{row.against.value:.3g}",
        memory,
        error,
    ]


def _of_device(row: Row) -> list[Part]:
    """What a call takes the host beside the device's own time, and what bounds that."""
    if row.host_seconds is None or row.of_bound is None:
        return ["", "", ""]
    return [format_seconds(row.host_seconds), f"{row.bound_by} {100 * row.of_bound:.0f} %", row.timed_by]


def _milliseconds(seconds: float) -> float:
    return rounded(1e3 * seconds)

"""The comparison of attention implementations in a terminal: a block for each problem, a row for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.quantity import format_bytes
from pyprof.report.attention_short import in_short
from pyprof.report.style import STATUS_STYLES, Glyphs, Scale, device_line, glyphs, plural, scale, spread
from pyprof.report.trust import trust_line

if TYPE_CHECKING:
    from pyprof.attention import Comparison, Problem, ProblemResult, Row


def write(comparison: Comparison, console: Console) -> None:
    """Write the tables to a console, in its width, colours and encoding."""
    console.print(render(comparison, glyphs(console.encoding)))


def render(comparison: Comparison, marks: Glyphs) -> Group:
    """A table for each dtype and mode, the reasons for missing figures, and how to read it all."""
    blocks: list[RenderableType] = [_header(comparison, marks), *in_short(comparison, marks)]
    for dtype in comparison.grid.dtypes:
        for mode in comparison.grid.modes:
            results = [each for each in comparison.results if (each.problem.dtype, each.mode) == (dtype, mode)]
            if results:
                blocks += [Text(""), _title(results), _table(results, marks)]
    trust = [] if comparison.trust is None else [trust_line(comparison.trust)]
    blocks += [Text(""), *_reasons(comparison), *trust, *_reading(comparison)]
    return Group(*blocks)


def outcome(result: ProblemResult) -> str:
    """A result in one line, for progress."""
    parts = []
    for row in result.rows:
        if row.seconds is None:
            parts.append(f"{row.impl} {row.status}")
        else:
            unit = scale([row.seconds.value], "time")
            parts.append(f"{row.impl} {unit.number(row.seconds.value)} {unit.unit}")
    return ", ".join(parts)


def _header(comparison: Comparison, marks: Glyphs) -> RenderableType:
    grid = comparison.grid
    title = Text.assemble(("pyprof", "bold bright_blue"), f" {marks.dot} ", ("sliding-window attention", "bold"))
    title.append(f", batch {grid.batch}, {plural(grid.heads, 'head')} of {grid.head_dim}")
    title.append(f", {plural(grid.global_keys, 'global key')}" if grid.global_keys else "")
    lines = [title, Text(device_line(comparison.environment, grid.device))]
    if not comparison.complete:
        lines.append(Text("stopped before the end; what was measured until then:", "bold yellow"))
    return Group(*lines)


def _title(results: Sequence[ProblemResult]) -> Text:
    """Mode and dtype, and the limit over all results, as one machine does not always run at one speed."""
    title = Text.assemble((results[0].mode.capitalize(), "bold"), ", ", (results[0].problem.dtype, "bold"))
    rates = [result.limit.value / 1e9 for result in results if result.limit is not None]
    if rates:
        low, high = f"{min(rates):,.0f}", f"{max(rates):,.0f}"
        size = max(result.limit_size for result in results)
        title.append(f"; a {size} x {size} matrix product reaches {low if low == high else f'{low} to {high}'} GFLOP/s")
    moved = [result.bandwidth.value / 1e9 for result in results if result.bandwidth is not None]
    if moved:
        low, high = f"{min(moved):,.0f}", f"{max(moved):,.0f}"
        title.append(f", a copy {low if low == high else f'{low} to {high}'} GB/s")
    return title


def _table(results: Sequence[ProblemResult], marks: Glyphs) -> Grid:
    unit = scale([row.seconds.value for result in results for row in result.rows if row.seconds is not None], "time")
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False, pad_edge=False)
    grid.add_column("length, window\n  implementation", overflow="fold")
    on_device = _on_device(results)
    for heading in (
        f"time\n({unit.unit})",
        *([f"host\n({unit.unit})"] if on_device else []),
        "useful\nGFLOP/s",
        "of\nbound" if on_device else "of\nlimit",
        f"times\n{_first(results) or 'first'}",
        "extra\nmemory",
        "largest\nerror",
        "times\neager",
    ):
        grid.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        grid.add_row(Text(_problem(result.problem), "cyan"), *[""] * (7 + on_device))
        fastest = min((row.seconds.value for row in result.rows if row.seconds is not None), default=None)
        for row in result.rows:
            grid.add_row(*_cells(row, unit, fastest, marks, on_device))
    return grid


def _on_device(results: Sequence[ProblemResult]) -> bool:
    """Whether times are a device's own, beside the host's."""
    return any(row.host_seconds is not None for result in results for row in result.rows)


def _first(results: Sequence[ProblemResult]) -> str | None:
    """The implementation that the others are compared with, where it is the same one in all results."""
    names = {next((row.impl for row in result.rows if row.seconds is not None), None) for result in results}
    return names.pop() if len(names) == 1 else None


def _problem(problem: Problem) -> str:
    left, right = problem.window
    return f"{problem.length:,}, {left}+{right}"


def _cells(row: Row, unit: Scale, fastest: float | None, marks: Glyphs, on_device: bool) -> Iterator[Text]:
    label = "" if row.variant is None else f" {row.variant.removeprefix('block size ')}"
    if row.seconds is None:
        yield Text(f"  {row.impl}")
        yield Text(row.status, STATUS_STYLES.get(row.status, ""))
        yield from [Text("-", "dim")] * (6 + on_device)
        return
    style = "bold green" if row.seconds.value == fastest else ""
    yield Text(f"  {row.impl}{label}", style)
    around = spread(row.seconds.value, row.seconds.low, row.seconds.high, marks)
    yield Text(unit.number(row.seconds.value), style).append(f" {around:>6}", "dim")
    if on_device:
        launched = row.host_seconds is not None and row.host_seconds > row.seconds.value
        host = "-" if row.host_seconds is None else unit.number(row.host_seconds)
        yield Text(host, "yellow" if launched else "dim")
    yield Text(f"{(row.flops_per_second or 0) / 1e9:,.1f}")
    if on_device:
        bound = None if row.of_bound is None else f"{row.bound_by} {100 * row.of_bound:.0f}%"
        yield Text(bound or "-")
    else:
        yield Text("-" if row.of_limit is None else f"{100 * row.of_limit.value:.1f}%")
    yield Text(
        "-"
        if row.against is None
        else f"{row.against.value:.2f}"
        if row.against.value < 9.995
        else f"{row.against.value:,.1f}"
    )
    yield Text("-" if row.extra_bytes is None else format_bytes(row.extra_bytes))
    if row.accuracy is None:
        yield from [Text("-", "dim")] * 2
        return
    style = "" if row.accuracy.holds else "bold red"
    yield Text(f"{row.accuracy.error:.1e}", style)
    times = row.accuracy.times_eager
    yield Text("-" if times is None else f"{times:.2f}", style)


# How the times of a device were taken.
_TIMED_BY = {
    "kernels": "the device's, by the records of its work, the cache flushed before and inputs in turn",
    "graph": "the device's, by events around a replay of the captured call, the cache flushed before, inputs in turn",
    "events": "by events, so that launches may be in it",
    "host": "the call's",
}


def _reasons(comparison: Comparison) -> Iterator[Text]:
    """Why there are no records of a device's work, and each reason of a row once, with the implementation, the first
    problem and the number of the others.
    """
    reasons: dict[tuple[str, str, str], list[ProblemResult]] = {}
    for result in comparison.results:
        for row in result.rows:
            if row.reason is not None:
                reasons.setdefault((row.impl, row.status, row.reason), []).append(result)
    for why in dict.fromkeys(result.no_records for result in comparison.results if result.no_records):
        yield Text.assemble(("no kernel times", "yellow"), f": {why}")
    for (impl, status, reason), results in reasons.items():
        first = results[0]
        where = f"{first.mode}, {first.problem.dtype}, {_problem(first.problem)}"
        more = f" and {len(results) - 1} more" if len(results) > 1 else ""
        yield Text.assemble((status, STATUS_STYLES.get(status, "")), f" {impl} ({where}{more}): {reason}")


def _reading(comparison: Comparison) -> Iterator[Text]:
    """What the columns mean."""
    rows = [row for result in comparison.results for row in result.rows if row.seconds is not None]
    if not rows:
        return
    first = _first(comparison.results) or "the first one that ran"
    own, timed = _on_device(comparison.results), {row.timed_by for row in rows}
    interleaved = "the median and the larger half of its 95 % interval, calls interleaved; backward without its forward"
    columns = {
        "time": f"{_TIMED_BY[min(timed)]}: {interleaved}" if own and len(timed) == 1 else interleaved,
        **(
            {
                "host": "what a call takes the host, which is yellow where that is longer than the device works",
                "of bound": "how near it is to the least time for its useful work: compute at the matrix product's "
                "rate or memory, everything read and written once, at a copy's, both measured in the same rounds",
            }
            if own
            else {"of limit": "useful GFLOP/s relative to the matrix product's in the same rounds"}
        ),
        f"times {first}": "the ratio of the times",
        "extra memory": "the peak of PyTorch's allocations beyond inputs and results, prepared masks included; for "
        "backward that of both passes",
        "largest error": "of any element, against dense attention in float64",
        "times eager": "that error relative to eager attention's in the same dtype; up to "
        f"{comparison.grid.tolerance:g} is allowed",
    }
    if own and len(timed) > 1:
        for how in sorted(timed):
            impls = dict.fromkeys(row.impl for row in rows if row.timed_by == how)
            columns[f"time of {', '.join(impls)}"] = _TIMED_BY[how]
    if any(row.variant for row in rows):
        columns["the number after flex"] = "its fastest block size"
    yield from (Text(f"{name}: {meaning}", "dim") for name, meaning in columns.items())

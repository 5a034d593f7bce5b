"""The comparison of attention implementations in a terminal: a block for each problem, a row for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.quantity import format_bytes
from pyprof.report.style import Glyphs, Scale, glyphs, plural, scale

if TYPE_CHECKING:
    from pyprof.attention import Comparison, Contest, Problem, Row
    from pyprof.statistics.estimate import Estimate

_STATUS_STYLES = {"oom": "red", "error": "bold red", "skipped": "yellow"}


def write(comparison: Comparison, console: Console) -> None:
    """Write the tables to a console, in its width, colours and encoding."""
    console.print(render(comparison, glyphs(console.encoding)))


def render(comparison: Comparison, marks: Glyphs) -> Group:
    """A table for each dtype and mode, the reasons of what has no figure, and how to read it all."""
    blocks: list[RenderableType] = [_header(comparison, marks)]
    for dtype in comparison.plan.dtypes:
        for mode in comparison.plan.modes:
            held = [one for one in comparison.contests if (one.problem.dtype, one.mode) == (dtype, mode)]
            if held:
                blocks += [Text(""), _title(held), _table(held, marks)]
    blocks += [Text(""), *_reasons(comparison), *_reading(comparison)]
    return Group(*blocks)


def outcome(contest: Contest) -> str:
    """A contest in one line, for progress."""
    found = []
    for row in contest.rows:
        if row.seconds is None:
            found.append(f"{row.impl} {row.status}")
        else:
            unit = scale([row.seconds.value], "time")
            found.append(f"{row.impl} {unit.number(row.seconds.value)} {unit.unit}")
    return ", ".join(found)


def _header(comparison: Comparison, marks: Glyphs) -> RenderableType:
    plan, machine = comparison.plan, comparison.environment
    title = Text.assemble(("pyprof", "bold bright_blue"), f" {marks.dot} ", ("sliding-window attention", "bold"))
    title.append(f", batch {plan.batch}, {plural(plan.heads, 'head')} of {plan.head_dim}")
    where = f"{machine.cpu}, {plural(machine.threads, 'thread')}"
    if plan.device != "cpu":
        where = ", ".join(gpu.name for gpu in machine.gpus)
    lines = [title, Text(f"{where}, torch {machine.torch}")]
    if not comparison.complete:
        lines.append(Text("warning: stopped before the end, what was measured follows", "bold yellow"))
    return Group(*lines)


def _title(held: Sequence[Contest]) -> Text:
    """Mode and dtype, and the limit as it was over all the contests: one machine, but not always one speed."""
    title = Text.assemble((held[0].mode.capitalize(), "bold"), ", ", (held[0].problem.dtype, "bold"))
    rates = [one.limit.value / 1e9 for one in held if one.limit is not None]
    if rates:
        low, high = f"{min(rates):,.0f}", f"{max(rates):,.0f}"
        title.append(f", a 1024 x 1024 matrix product reaching {low if low == high else f'{low} to {high}'} GFLOP/s")
    return title


def _table(held: Sequence[Contest], marks: Glyphs) -> Grid:
    unit = scale([row.seconds.value for one in held for row in one.rows if row.seconds is not None], "time")
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False, pad_edge=False)
    grid.add_column("length, window\n  implementation", overflow="fold")
    for heading in (
        f"time\n({unit.unit})",
        "useful\nGFLOP/s",
        "of\nlimit",
        f"times\n{_first(held) or 'first'}",
        "extra\nmemory",
        "largest\nerror",
        "times\neager",
    ):
        grid.add_column(heading, justify="right", no_wrap=True)
    for one in held:
        grid.add_row(Text(_problem(one.problem), "cyan"), *[""] * 7)
        fastest = min((row.seconds.value for row in one.rows if row.seconds is not None), default=None)
        for row in one.rows:
            grid.add_row(*_cells(row, unit, fastest, marks))
    return grid


def _first(held: Sequence[Contest]) -> str | None:
    """The implementation that the others are held against, where it is the same one in all contests."""
    names = {next((row.impl for row in one.rows if row.seconds is not None), None) for one in held}
    return names.pop() if len(names) == 1 else None


def _problem(problem: Problem) -> str:
    left, right = problem.window
    return f"{problem.length:,}, {left}+{right}"


def _cells(row: Row, unit: Scale, fastest: float | None, marks: Glyphs) -> Iterator[Text]:
    label = "" if row.variant is None else f" {row.variant.removeprefix('block size ')}"
    if row.seconds is None:
        yield Text(f"  {row.impl}")
        yield Text(row.status, _STATUS_STYLES.get(row.status, ""))
        yield from [Text("-", "dim")] * 6
        return
    style = "bold green" if row.seconds.value == fastest else ""
    yield Text(f"  {row.impl}{label}", style)
    yield Text(unit.number(row.seconds.value), style).append(f" {_spread(row.seconds, marks):>6}", "dim")
    yield Text(f"{(row.flops_per_second or 0) / 1e9:,.1f}")
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


def _spread(estimate: Estimate, marks: Glyphs) -> str:
    """The larger distance from the median to a bound of its interval, in percent of the median."""
    if estimate.low is None or estimate.high is None:
        return f"{marks.spread}?"
    percent = 100 * max(estimate.high - estimate.value, estimate.value - estimate.low) / estimate.value
    return f"{marks.spread}{percent:.0f}%" if percent >= 9.95 else f"{marks.spread}{percent:.1f}%"


def _reasons(comparison: Comparison) -> Iterator[Text]:
    """Each reason once, with whom and how often it hit."""
    found: dict[tuple[str, str, str], list[Contest]] = {}
    for contest in comparison.contests:
        for row in contest.rows:
            if row.reason is not None:
                found.setdefault((row.impl, row.status, row.reason), []).append(contest)
    for (impl, status, reason), contests in found.items():
        one = contests[0]
        where = f"{one.mode}, {one.problem.dtype}, {_problem(one.problem)}"
        more = f" and {len(contests) - 1} more" if len(contests) > 1 else ""
        yield Text.assemble((status, _STATUS_STYLES.get(status, "")), f" {impl} ({where}{more}): {reason}")


def _reading(comparison: Comparison) -> Iterator[Text]:
    rows = [row for contest in comparison.contests for row in contest.rows if row.seconds is not None]
    if not rows:
        return
    first = _first(comparison.contests) or "the first one that ran"
    text = (
        "time: median and the larger half of its 95 % interval, one call of each in turn, backward without its forward"
        "; of limit: useful operations a second against the matrix product's in the same rounds; times "
        f"{first}: the ratio of the times; extra memory: peak of PyTorch's allocations beyond inputs and results, "
        "prepared masks included, for backward of both passes; error: the largest of any element against float64, and "
        f"beside that of eager attention in the same dtype ({comparison.plan.tolerance:g} is allowed)"
    )
    if any(row.variant for row in rows):
        text += "; flex: its fastest block size, which stands behind the name"
    yield Text(text, "dim")

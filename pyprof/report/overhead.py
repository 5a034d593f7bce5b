"""The profiling overhead in a terminal: a table for each mode, a row for each tool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.quantity import format_longer, format_seconds
from pyprof.report.style import STATUS_STYLES, Glyphs, device_line, glyphs, plural
from pyprof.report.trust import trust_line

if TYPE_CHECKING:
    from pyprof.overhead import ModeResult, Overhead, Row
    from pyprof.overhead.accuracy import PhaseError
    from pyprof.statistics.estimate import Estimate

_FIGURES = {"call": "added per call", "event_bytes": "bytes kept per call", "errors": "errors of layer times"}
_MODES = {"infer": "Inference", "train": "Training"}
_OURS = "pyprof"
# As wide as the names of most tools, so that the widest table of figures still fits 80 columns beside them.
_NAME_WIDTH = 12


def write(overhead: Overhead, console: Console) -> None:
    """Write the tables to a console, in its width, colours and encoding."""
    console.print(render(overhead, glyphs(console.encoding)))


def render(overhead: Overhead, marks: Glyphs) -> Group:
    """A table for each mode, the reasons for missing figures, and how to read it all."""
    blocks: list[RenderableType] = [*_header(overhead, marks)]
    for mode in overhead.modes:
        blocks += [Text(""), _title(mode, marks), _table(mode, marks), *_reasons(mode), _stated(mode)]
        if mode.trust is not None:
            blocks.append(trust_line(mode.trust))
    return Group(*blocks, Text(""), *_reading(overhead))


def _header(overhead: Overhead, marks: Glyphs) -> Iterator[Text]:
    setup = overhead.request.setup
    title = Text.assemble(("pyprof", "bold bright_blue"), f" {marks.dot} ", ("profiling overhead", "bold"))
    yield title.append(
        f", {setup.model} {setup.size}, {setup.length:,} {overhead.unit}s, batch {setup.batch}, {setup.dtype}"
    )
    yield Text(device_line(overhead.environment, setup.device))
    for note in dict.fromkeys(note for mode in overhead.modes for note in mode.notes):
        yield Text(note, "dim")


def _title(mode: ModeResult, marks: Glyphs) -> Text:
    title = Text.assemble((_MODES.get(mode.mode, mode.mode), "bold"), f", {mode.attention}")
    if mode.step is None:
        return title
    half = mode.step.relative_half_width
    spread = "" if half is None else f" {marks.spread}{100 * half:.1f} %"
    step = format_seconds(mode.step.value)
    return title.append(f": a step takes {step}{spread} without a profiler, {plural(mode.rounds, 'round')}")


def _table(mode: ModeResult, marks: Glyphs) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False, pad_edge=False)
    grid.add_column("\n\ntool", overflow="fold", min_width=_NAME_WIDTH)
    headings = ["step\nslower\n(%)", "\n95 % interval\n(%)", "added\na call\n(ns)", "kept\na call\n(B)"]
    headings += ["fwd.\nerror\n(%)", "worst\nlayer\n(%)", "error\na call\n(ns)"]
    if mode.mode == "train":
        headings += ["bwd.\nerror\n(%)", "worst\nlayer\n(%)"]
    for heading in headings:
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in mode.rows:
        grid.add_row(*_cells(row, mode))
    return grid


def _cells(row: Row, mode: ModeResult) -> Iterator[Text]:
    yield Text(row.tool, "bold green" if row.tool == _OURS else "")
    if row.ratio is None:
        yield Text(row.status, STATUS_STYLES.get(row.status, ""))
        yield Text("-", "dim")
    else:
        yield Text(_percent(row.ratio.value - 1), "bold")
        yield Text(_interval(row.ratio))
    yield _number(None if row.call is None else row.call.undisturbed)
    yield _number(row.event_bytes)
    forward = row.errors.forward if row.errors else None
    yield from _errors(forward)
    yield _number(forward.call_ns if forward else None)
    if mode.mode == "train":
        yield from _errors(row.errors.backward if row.errors else None)


def _errors(phase: PhaseError | None) -> Iterator[Text]:
    for value in (phase.median, phase.worst) if phase else (None, None):
        yield Text("-", "dim") if value is None else Text(_percent(value))


def _number(value: float | None) -> Text:
    return Text("-", "dim") if value is None else Text(f"{value:,.0f}")


def _interval(ratio: Estimate) -> str:
    if ratio.low is None or ratio.high is None:
        return "too few rounds"
    return f"{_percent(ratio.low - 1)} to {_percent(ratio.high - 1)}"


def _percent(share: float) -> str:
    percent = 100 * share
    return (
        f"{percent:,.0f}" if abs(percent) >= 99.95 else f"{percent:.1f}" if abs(percent) >= 9.995 else f"{percent:.2f}"
    )


def _reasons(mode: ModeResult) -> Iterator[Text]:
    for row in mode.rows:
        if row.reason is not None:
            yield Text.assemble((row.status, STATUS_STYLES.get(row.status, "")), f" {row.tool}: {row.reason}")
            continue
        for figure, reason in row.gaps.items():
            yield Text.assemble(("no figure", "yellow"), f" {row.tool}, {_FIGURES[figure]}: {reason}")


def _stated(mode: ModeResult) -> Text:
    """What our own profile says of its overhead, to hold beside what was measured from outside."""
    stated = mode.stated
    nodes = f" and {stated.nodes:,.0f} backward nodes" if stated.nodes else ""
    interval = "too few rounds" if stated.ratio.interval is None else f"{_interval(stated.ratio)} %"
    return Text(
        f"pyprof profile states: a step takes {format_seconds(stated.step.value)} without probes, and "
        f"{format_longer(stated.ratio.value)} ({interval}) with them on its {stated.calls:,.0f} calls of "
        f"layers{nodes}; {plural(stated.rounds, 'round')}"
    )


def _reading(overhead: Overhead) -> Iterator[Text]:
    """What the columns mean."""
    shown = {row.tool: row for mode in overhead.modes for row in mode.rows if row.status == "ok"}
    timed = "; ".join(f"{row.tool}: {row.timed}" for row in shown.values())
    empty, unseen = (
        min(getattr(mode, name) for mode in overhead.modes) for name in ("plain_call_ns", "unseen_call_ns")
    )
    yield Text(
        "step slower: than one without a profiler, by the Hodges-Lehmann estimate of the ratios paired by round, in "
        f"random order, tools attached beforehand; what is timed besides the step: {timed}",
        "dim",
    )
    yield Text(
        f"added a call: to a call of a module that does nothing ({empty:,.0f} ns), in training without its backward; "
        "kept a call: memory before anything is read",
        "dim",
    )
    yield Text(
        "fwd., bwd. error: of layer times, on a model whose layers take a known time of 20 µs to 5 ms, the median of "
        "the layers; error a call: that of the whole forward divided by its calls, each of which takes "
        f"{unseen / 1000:,.1f} µs beyond the known time",
        "dim",
    )

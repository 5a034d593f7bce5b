"""Bars of block characters: the share of each kind of layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.shares import ShareRow, rank
from pyprof.quantity import format_count
from pyprof.records.case import MODES
from pyprof.report.style import KIND_STYLES, Glyphs, figure
from pyprof.report.view import ModelLine, ShareChart


def bar(shares: Mapping[str, float], width: int, glyphs: Glyphs, styles: Mapping[str, str] = KIND_STYLES) -> Text:
    """One bar of exactly `width` characters for shares that sum to 1, rounded to whole characters in their order."""
    text = Text(no_wrap=True)
    filled, reached = 0, 0.0
    for kind, share in shares.items():
        reached += share
        until = min(round(reached * width), width)
        text.append(glyphs.filling(kind) * (until - filled), styles.get(kind, "white"))
        filled = max(filled, until)
    return text


def legend(kinds: Iterable[str], width: int, glyphs: Glyphs, styles: Mapping[str, str] = KIND_STYLES) -> Text:
    """What each filling stands for, in lines of at most `width` characters that part no filling from its name."""
    text, used = Text(no_wrap=True), 0
    for kind in kinds:
        needed = len(kind) + 6
        if used and used + needed - 3 > width:
            text.append("\n")
            used = 0
        text.append(glyphs.filling(kind) * 2, styles.get(kind, "white"))
        text.append(f" {kind}   ", "dim")
        used += needed
    return text


def share_charts(charts: Sequence[ShareChart], unit: str, width: int, glyphs: Glyphs) -> Group:
    """The charts of a modality below each other, a bar for each mode in every line."""
    rows = [row for chart in charts for row in chart.rows]
    kinds = sorted({kind for row in rows for shares in row.modes.values() for kind in shares.shares}, key=rank)
    modes = [mode for mode in MODES if any(mode in row.modes for row in rows)]
    names = max(len(_name(chart)) for chart in charts)
    lengths = max(len(unit) + 3, *(len(f"{row.length:,}") for row in rows))
    room = max((width - names - lengths - 2 - 6 * len(modes)) // len(modes), 8)
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(justify="right", no_wrap=True)
    headings = [Text(""), Text(f"({unit}s)", "dim")]
    for mode in modes:
        grid.add_column(width=room, no_wrap=True)
        grid.add_column(width=4, justify="right", no_wrap=True)
        headings += [Text(mode, "bold"), Text("%", "dim")]
    grid.add_row(*headings)
    for chart in charts:
        for number, index in enumerate(chart.brief):
            row = chart.rows[index]
            bars = [text for mode in modes for text in _share(row.modes.get(mode), room, glyphs)]
            grid.add_row(Text(_name(chart) if number == 0 else ""), f"{row.length:,}", *bars)
    title = Text.assemble(("Where the time goes", "bold"), ": share of each kind in a step, and self-attention's in %")
    return Group(title, legend(kinds, width, glyphs), grid)


def _share(row: ShareRow | None, room: int, glyphs: Glyphs) -> tuple[Text, Text]:
    if row is None:
        return Text(""), Text("")
    attention = "" if row.non_attention is None else f"{100 * (1 - row.non_attention):.0f}"
    return bar(row.shares, room, glyphs), Text(attention, "bright_blue")


def _name(chart: ShareChart) -> str:
    return f"{chart.column.model} {chart.column.how}" + (f", {chart.setting}" if chart.setting else "")


def parameter_bars(models: Sequence[ModelLine], width: int, glyphs: Glyphs) -> Group:
    """The number of parameters of each model and the share of each kind in them."""
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    lines: dict[tuple[str, str | None], list[ModelLine]] = {}
    for line in models:
        if line.fewest is not None:
            lines.setdefault((line.column.model, line.column.weights), []).append(line)
    counts = [_parameters(each, glyphs) for each in lines.values()]
    names, numbers = max((len(name) for name, _ in lines), default=0), max(map(len, counts), default=0)
    for ((name, _), each), count in zip(lines.items(), counts, strict=True):
        grid.add_row(Text(name), count, bar(each[0].shares, max(width - names - numbers - 4, 10), glyphs))
    return Group(Text.assemble(("Parameters", "bold"), " and the share of each kind in them"), grid)


def _parameters(lines: Sequence[ModelLine], glyphs: Glyphs) -> str:
    """The number of parameters of a model, over all lengths and implementations."""
    fewest = format_count(min(line.fewest or 0 for line in lines))
    most = format_count(max(line.most or 0 for line in lines))
    return fewest if fewest == most else f"{fewest}{glyphs.dash}{most}"


def fixed_figures(models: Sequence[ModelLine], glyphs: Glyphs) -> Group:
    """What else does not vary with the length: a line for each indicator and model."""
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(justify="right", no_wrap=True)
    for indicator in dict.fromkeys(fixed.indicator for line in models for fixed in line.fixed):
        for line in models:
            for fixed in line.fixed:
                if fixed.indicator == indicator:
                    bounds = dict.fromkeys(figure(indicator, value) for value in (fixed.lowest, fixed.highest))
                    name = f"{line.column.model} {line.column.how}"
                    told = f" {glyphs.dash} ".join(bounds)
                    if fixed.low is not None and fixed.high is not None:
                        told += f" [{figure(indicator, fixed.low)}{glyphs.dash}{figure(indicator, fixed.high)}]"
                    grid.add_row(indicator.title, name, told)
    return Group(Text("The same at every length", "bold"), grid)

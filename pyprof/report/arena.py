"""Long Range Arena's table of speed and memory beside a run, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pyprof.analysis.arena import ArenaCell, ArenaTable


def arena_blocks(tables: Sequence[ArenaTable]) -> Iterator[RenderableType]:
    """For each setting speed and memory, ours / published, then how the orders by speed relate."""
    for table in tables:
        yield Text(setting_words(table), "dim")
        yield _grid(table, "steps a second", [(cell, cell.speed, cell.published_speed) for cell in table.cells])
        yield _grid(table, "peak memory", [(cell, cell.memory, cell.published_memory) for cell in table.cells])
        yield order_line(table)


def _grid(table: ArenaTable, title: str, cells: Sequence[tuple[ArenaCell, float | None, float]]) -> Table:
    lengths = list(dict.fromkeys(cell.length for cell in table.cells))
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    grid.add_column(title, no_wrap=True, style="bold")
    for length in lengths:
        grid.add_column(f"{length:,}", justify="right", no_wrap=True)
    for model in dict.fromkeys(cell.model for cell in table.cells):
        row = [(own, published) for cell, own, published in cells if cell.model == model]
        grid.add_row(model, *(f"{'-' if own is None else f'{own:.2f}'} / {published:.2f}" for own, published in row))
    return grid


def setting_words(table: ArenaTable) -> str:
    """What the figures of a table are, and how ours were taken."""
    setting = table.setting
    where = f"{setting.size}, batch {setting.batch}, {setting.dtype} on {setting.device}"
    return f"ours / published ({table.source}), each as a ratio to the vanilla Transformer ({where})"


def order_line(table: ArenaTable) -> Text:
    """How the order by speed relates to the published one, and every pair that differs."""
    text = Text(f"order by speed at {table.longest:,} tokens: ")
    if table.correlation is None:
        return text.append("too few models were measured to compare it with the published one", "dim")
    text.append(f"rank correlation {table.correlation:.2f}", "bold").append(" with the published one")
    if table.differing:
        pairs = ", ".join(f"{ours} before {theirs}" for ours, theirs in table.differing)
        text.append(f"; the other way round than published: {pairs}")
    return text

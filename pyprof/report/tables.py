"""Metric tables in a terminal: a row for each length, a column for each model and implementation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.report.style import Glyphs, Scale, plural, scale, spread
from pyprof.report.view import Cell, Column, Table


def metric_table(table: Table, width: int, glyphs: Glyphs) -> Group:
    """The brief rows of a table, in as many blocks side by side as the width asks for below each other."""
    values = [cell.value for row in table.rows for cell in row.cells if cell.value is not None]
    unit = scale(values, table.indicator.format, table.unit)
    short = table.indicator.short_unit or unit.unit
    rows = [table.rows[index] for index in table.brief]
    title = Text.assemble(
        (table.indicator.title, "bold"),
        f" {table.indicator.scope}, " if table.indicator.scope else ", ",
        (table.mode, "bold"),
        f" ({unit.unit})" + (f", {table.setting}" if table.setting else ""),
    )
    if len(rows) < len(table.rows):
        title.append(f"   {len(rows)} of {plural(len(table.rows), 'length')}", "dim")
    lengths = [Text(f"{row.length:,}") for row in rows]
    columns = [
        [_figure(row.cells[index], unit, table, index, glyphs) for row in rows] for index in range(len(table.columns))
    ]
    blocks: list[RenderableType] = [title]
    headings = [max(len(column.model), len(column.how), len(short) + 2) for column in table.columns]
    for chosen in blocks_of(headings, columns, width - len(table.length_unit) - 12):
        grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
        grid.add_column(f"\nlength\n({table.length_unit}s)", justify="right", no_wrap=True, style="bold")
        for index in chosen:
            grid.add_column(_heading(table.columns[index], short), justify="right", no_wrap=True)
        for number, length in enumerate(lengths):
            grid.add_row(length, *(columns[index][number] for index in chosen))
        blocks.append(grid)
    return Group(*blocks)


def _heading(column: Column, unit: str) -> Text:
    """The unit is the one that stands in every column; the title has it in full."""
    return Text.assemble((column.model, "bold"), "\n", column.how, "\n", (f"({unit})" if unit else "", "dim"))


def blocks_of(headings: Sequence[int], texts: Sequence[Sequence[Text]], room: int) -> Iterator[list[int]]:
    """The indices of the columns that fit next to each other; `headings` are the widths of the columns' titles."""
    block: list[int] = []
    used = 0
    for index, heading in enumerate(headings):
        needed = max([heading, *(text.cell_len for text in texts[index])]) + 2
        if block and used + needed > room:
            yield block
            block, used = [], 0
        block.append(index)
        used += needed
    if block:
        yield block


def _figure(cell: Cell, unit: Scale, table: Table, index: int, glyphs: Glyphs) -> Text:
    if cell.value is None:
        return Text(cell.status or glyphs.dot, "red" if cell.status in ("oom", "timeout", "error") else "dim")
    every = len(set(cell.cheaper_in)) == table.compared[index]
    style = "bold green" if cell.cheaper_in and every else "green" if cell.cheaper_in else ""
    text = Text(unit.number(cell.value), style)
    if not table.counted:
        text.append(f" {spread(cell.value, cell.low, cell.high, glyphs):>6}", "dim")
    if cell.launch_bound:
        text.append(glyphs.launch, "yellow")
    if any(table.compared):
        text.append((glyphs.cheaper if every else glyphs.partly) if cell.cheaper_in else " ", style)
    return text

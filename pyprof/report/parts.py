"""What a cost consists of, in a terminal, with a bar for each model: peak memory by component, say."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from pyprof.report.bars import bar, legend
from pyprof.report.style import Glyphs, figure
from pyprof.report.view import Cell, Table

_STYLES = ("bright_blue", "cyan", "white", "yellow", "red", "magenta", "green")


def parts_of(table: Table, cell: Cell) -> Mapping[str, float]:
    """The parts of a figure that are more than nothing, by the names that its indicator gives; they sum to it.

    Empty where a figure has none, or where a run from elsewhere has parts that are no numbers or sum to something else.
    """
    found = {name: (cell.detail or {}).get(name) or 0 for name in table.indicator.parts}
    numbers = {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}
    whole = sum(numbers.values())
    if not cell.value or len(numbers) < len(found) or min(numbers.values(), default=0) < 0:
        return {}
    return {name: value for name, value in numbers.items() if value} if abs(whole - cell.value) <= 0.5 else {}


def part_words(name: str) -> str:
    """What a part is called: "optimizer state"."""
    return name.replace("_", " ")


def part_bars(table: Table, width: int, glyphs: Glyphs) -> Group | None:
    """The parts of each model's figures at the ends of a short print; None where no figure has parts."""
    ends = dict.fromkeys((table.brief[0], table.brief[-1])) if table.brief else ()
    rows = [
        (f"{column.model} {column.how}", table.rows[index].length, cell, parts_of(table, cell))
        for number, column in enumerate(table.columns)
        for index in ends
        if parts_of(table, cell := table.rows[index].cells[number])
    ]
    if not rows:
        return None
    styles = {part_words(name): style for name, style in zip(table.indicator.parts, _STYLES * 3, strict=False)}
    present = [part_words(name) for name in table.indicator.parts if any(name in parts for *_, parts in rows)]
    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    sizes = [figure(table.indicator, cell.value or 0.0) for _, _, cell, _ in rows]
    room = width - max(len(name) for name, *_ in rows) - max(map(len, sizes)) - 12
    before = None
    for (name, length, cell, parts), size in zip(rows, sizes, strict=True):
        shares = {part_words(each): value / (cell.value or 1.0) for each, value in parts.items()}
        drawn = bar(shares, max(room, 8), glyphs, styles)
        grid.add_row(Text("" if name == before else name), f"{length:,}", Text(size), drawn)
        before = name
    setting = f", {table.setting}" if table.setting else ""
    title = Text.assemble((f"{table.indicator.title}", "bold"), f", {table.mode}{setting}: what it consists of")
    return Group(title, legend(present, width, glyphs, styles), grid)

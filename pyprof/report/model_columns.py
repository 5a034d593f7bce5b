"""Tables of a row for each model, turned in a terminal: a column for each, as many beside one another as fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


def model_columns(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    remarks: Iterable[str],
    *,
    width: int,
) -> Iterator[RenderableType]:
    """A caption, the tables and the remarks, in `width`: a row begins with its model, `heads` with the word for it."""
    yield Text(caption, "dim")
    column = max(len(cell) for row in rows for cell in row) + 1
    models = max((width - max(map(len, heads))) // column, 1)
    for begin in range(0, len(rows), models):
        yield _grid(heads[1:], rows[begin : begin + models])
    yield from (Text(remark, "dim") for remark in remarks)


def _grid(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    grid.add_column("", style="bold", no_wrap=True)
    for model, *_ in rows:
        grid.add_column(model, justify="right", no_wrap=True)
    for name, *line in zip(names, *(row[1:] for row in rows), strict=True):
        grid.add_row(name, *line)
    return grid

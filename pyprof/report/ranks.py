"""The ranks of sharded models, in a terminal and on a page: what each took, and which one the others wait for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pyprof.analysis.ranks import RankedCase, RankRow
from pyprof.quantity import format_bytes, format_seconds

HEADS = ("rank", "device", "step", "own work", "communication", "waits for the slowest", "peak memory")
EXPLAINED = (
    "Communication holds the waiting for other ranks; own work is the rest of a step. All ranks end a step together, "
    "so the slowest is the one whose own work takes longest, and the others have nothing to do until that is done."
)


def rank_cells(rows: Sequence[RankRow]) -> list[list[str]]:
    """The rows as `HEADS` heads them."""
    return [
        [
            str(row.number),
            row.device,
            *(_time(seconds) for seconds in (row.step, row.work, row.communication)),
            _wait(row),
            "–" if row.peak_memory is None else format_bytes(row.peak_memory),
        ]
        for row in rows
    ]


def slowest_sentence(case: RankedCase) -> str:
    """Which rank is the slowest, and how long the others wait for it."""
    count = len(case.rows)
    if case.slowest is None or case.longest is None:
        return f"none of the {count} ranks is shown to be the slowest"
    who = "the other one waits" if count == 2 else "others wait up to"
    return f"rank {case.slowest} is the slowest of {count}: {who} {format_seconds(case.longest)} a step for it"


def case_title(case: RankedCase) -> str:
    """What a case is called above its ranks."""
    return f"{case.model} {case.how}, {case.mode}, {case.length:,}"


def rank_table(case: RankedCase) -> Table:
    """A line for each rank, without the columns that say nothing."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.title, table.title_justify, table.title_style = case_title(case), "left", "bold"
    lines = rank_cells(case.rows)
    told = [number for number in range(len(HEADS)) if any(line[number] != "–" for line in lines)]
    for number in told:
        table.add_column(HEADS[number], justify="left" if number == 1 else "right")
    for line in lines:
        table.add_row(*(line[number] for number in told))
    return table


def rank_blocks(cases: Sequence[RankedCase]) -> Iterator[RenderableType]:
    """A table for each case of a run."""
    yield Text(EXPLAINED, "dim")
    for case in cases:
        yield rank_table(case)
        yield Text(slowest_sentence(case))


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else format_seconds(seconds)


def _wait(row: RankRow) -> str:
    if row.wait is None:
        return "–"
    bounds = "" if row.low is None or row.high is None else f" ({_time(row.low)} to {_time(row.high)})"
    return f"{_time(row.wait)}{bounds}"

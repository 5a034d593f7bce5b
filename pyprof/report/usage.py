"""What models cost in all, in a terminal and on a page: training and queries, in carbon and in money."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pyprof.analysis.usage import Usage
from pyprof.quantity import plural
from pyprof.records.costs import Costs

HEADS = ("model", "length", "training", "queries", "in all")


def costs_words(costs: Costs) -> str:
    """What the costs are by: how much is done, and what a kWh and an hour stand for."""
    words = [f"training on {plural(costs.examples, 'example')}, then {costs.queries:,} queries"]
    words += [f"{costs.intensity:g} g of CO2 equivalent a kWh"] if costs.intensity is not None else []
    words += [f"{costs.price}"] if costs.price is not None else []
    return "; ".join(words)


def usage_rows(lines: Sequence[Usage]) -> Iterator[tuple[str, list[list[str]]]]:
    """For each indicator its title and unit, and its rows as `HEADS` heads them, what costs least in all first."""
    for indicator in dict.fromkeys(line.indicator for line in lines):
        own = [line for line in lines if line.indicator == indicator]
        own.sort(key=lambda line: (line.length, line.total is None, line.total))
        rows = [
            [str(line.subject), f"{line.length:,}", _figure(line.training), _figure(line.queries), _total(line)]
            for line in own
        ]
        yield f"{indicator.title} ({indicator.unit})", rows


def usage_tables(lines: Sequence[Usage], costs: Costs) -> Iterator[RenderableType]:
    """A table for each indicator, below what the costs are by."""
    yield Text(costs_words(costs), "dim")
    for title, rows in usage_rows(lines):
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for number, head in enumerate(HEADS):
            table.add_column(head if number else title, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        yield table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _total(line: Usage) -> str:
    bounds = "" if line.low is None or line.high is None else f" ({_figure(line.low)} to {_figure(line.high)})"
    return _figure(line.total) + bounds

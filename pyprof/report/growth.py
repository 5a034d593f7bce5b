"""How costs grow with the length, in a terminal: fitted exponents beside what the sources claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pyprof.analysis.growth import Growth, GrowthLine

_LEAST_SHOWN, _MOST_SHOWN = 0.005, 9
_LEAST_NAME = 20
EXPLANATION = (
    "exponents of the length that fit each model's costs (± half of a 95 % interval), over the lengths measured. The "
    "claim, in pairs of a query and a key, is on the mechanism alone; every model has projections beside it, which "
    "grow with an exponent of 1. A wide interval is that of a cost that bends, and so is no power."
)


def growth_tables(lines: Sequence[GrowthLine]) -> Iterator[RenderableType]:
    """A table for each mode: a line for each model and implementation, the least growth of attention first."""
    yield Text(EXPLANATION, "dim")
    for mode in dict.fromkeys(line.setting.mode for line in lines):
        yield _table([line for line in lines if line.setting.mode == mode], mode)


def _table(lines: Sequence[GrowthLine], mode: str) -> Table:
    costs = list(dict.fromkeys(name for line in lines for name in line.costs))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(mode, overflow="fold", min_width=_LEAST_NAME)
    table.add_column("claimed", justify="right", no_wrap=True)
    for name in costs:
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for line in sorted(lines, key=lambda line: line.claimed.exponent):
        figures = [_figure(line.costs[name]) if name in line.costs else Text("-", "dim") for name in costs]
        label = Text.assemble((str(line.subject), "bold"), ("\n" + line.complexity, "dim"))
        table.add_row(label, f"{line.claimed.exponent:.2f}", *figures)
    return table


def growth_words(growth: Growth) -> tuple[str, str]:
    """An exponent, and half of its interval where it has any width."""
    half = (growth.high - growth.low) / 2
    spread = "" if half < _LEAST_SHOWN else " ±>9" if half > _MOST_SHOWN else f" ±{half:.2f}"
    return f"{growth.exponent:.2f}", spread


def _figure(growth: Growth) -> Text:
    exponent, spread = growth_words(growth)
    return Text.assemble(exponent, (spread, "dim"))

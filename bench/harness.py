"""What the benches share: bars, the JSON document, and the table on a terminal."""

from __future__ import annotations

import argparse
import json
import operator
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

# A length at which each model is used every day: tokens, or pixels of a side.
TYPICAL = {
    "bert": 128,
    "longformer": 512,
    "nystromformer": 128,
    "hubert": 100,
    "l-hubert": 100,
    "vit": 224,
    "swin": 224,
}
_HOLDS = {"lower": operator.le, "higher": operator.ge}


@dataclass(frozen=True)
class Bar:
    """A figure that was promised: `value` against `bar`, in `unit`; `better` says on which side it holds."""

    name: str
    value: float
    unit: str
    bar: float
    better: str = "lower"

    @property
    def holds(self) -> bool:
        return bool(_HOLDS[self.better](self.value, self.bar))


@dataclass(frozen=True)
class Figures:
    """A table of what was measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows]}


def parser(method: str) -> argparse.ArgumentParser:
    """A parser whose help states the method, with --json."""
    made = argparse.ArgumentParser(description=method, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    return made


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def publish(method: str, tables: Sequence[Figures], bars: Sequence[Bar], as_json: bool) -> int:
    """Print the method, the figures and the bars; returns 0, or 1 where a bar does not hold."""
    if as_json:
        found = [{**asdict(bar), "holds": bar.holds} for bar in bars]
        document = {"method": method, "figures": [table.to_json() for table in tables], "bars": found}
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        console = Console()
        paragraphs = [" ".join(paragraph.split()) for paragraph in method.strip().split("\n\n")]
        console.print("\n\n".join(paragraphs), highlight=False)
        for table in tables:
            console.print(f"\n[bold]{table.title}[/bold]")
            console.print(_table(table.columns, table.rows))
        lines = [
            (bar.name, _shown(bar.value), f"{_sign(bar)} {_shown(bar.bar)}", bar.unit, _verdict(bar)) for bar in bars
        ]
        console.print(_table(("bar", "reached", "promised", "unit", ""), lines))
    return 0 if all(bar.holds for bar in bars) else 1


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(
            column, overflow="fold", justify="right" if index and rows and _is_number(rows[0][index]) else "left"
        )
    for row in rows:
        table.add_row(*(_shown(value) for value in row))
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _sign(bar: Bar) -> str:
    return "at most" if bar.better == "lower" else "at least"


def _verdict(bar: Bar) -> str:
    return "holds" if bar.holds else "DOES NOT HOLD"

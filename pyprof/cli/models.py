"""`pyprof models`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, print_json

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.models.registry import Description

_DESCRIPTION = """List the models that can be measured: family, vanilla model, parameters, implementations.

Any importable factory package.module:function, the directory of a local transformers checkpoint, or a
fairseq HuBERT file, is a model too.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    add_json(add_command(commands, "models", _run, _DESCRIPTION))


def _run(options: argparse.Namespace) -> int:
    from pyprof.models.registry import describe

    found = describe()
    if options.json:
        print_json(
            [
                {
                    "name": one.entry.name,
                    "modality": one.entry.modality,
                    "vanilla": one.entry.vanilla,
                    "family": one.entry.family,
                    "unit": one.entry.unit,
                    "parameters": one.parameters,
                    "attentions": list(one.entry.attentions),
                    "then": one.entry.then,
                    "lengths": [one.entry.shortest, one.entry.longest],
                    "description": one.entry.description,
                    "source": one.entry.source,
                }
                for one in found
            ]
        )
        return 0
    _table(found)
    return 0


def _table(found: Sequence[Description]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from pyprof.quantity import format_count

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("model", no_wrap=True, style="bold")
    table.add_column("variant of", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("lengths", justify="right", no_wrap=True)
    table.add_column("attention", overflow="fold")
    table.add_column("family", overflow="fold")
    for modality, group in groupby(found, key=lambda one: one.entry.modality):
        of_modality = list(group)
        table.add_row(f"[cyan]{modality}[/cyan]", "", "", f"[cyan]{of_modality[0].entry.unit}s[/cyan]")
        for one in of_modality:
            entry = one.entry
            table.add_row(
                f"  {entry.name}",
                entry.vanilla or "",
                format_count(one.parameters),
                f"{entry.shortest:,}\u2013{entry.longest:,}",
                ", ".join(entry.attentions),
                entry.family,
            )
    Console().print(table)

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

# In a terminal of fewer columns family and attention stand below a model.
_BESIDE = 110
_DESCRIPTION = """List the models that can be measured: family, vanilla model, parameters, implementations.

Any importable factory package.module:function, the directory of a local transformers checkpoint, and the file of a
fairseq HuBERT are models too.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    add_json(add_command(commands, "models", _run, _DESCRIPTION))


def _run(options: argparse.Namespace) -> int:
    from pyprof.models.registry import describe

    descriptions = describe()
    if options.json:
        print_json(
            [
                {
                    "name": each.entry.name,
                    "modality": each.entry.modality,
                    "vanilla": each.entry.vanilla,
                    "family": each.entry.family,
                    "unit": each.entry.unit,
                    "parameters": each.parameters,
                    "attentions": list(each.entry.attentions),
                    "then": each.entry.then,
                    "lengths": [each.entry.shortest, each.entry.longest],
                    "description": each.entry.description,
                    "source": each.entry.source,
                }
                for each in descriptions
            ]
        )
        return 0
    _table(descriptions)
    return 0


def _table(descriptions: Sequence[Description]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pyprof.quantity import format_count
    from pyprof.report.console import Console

    console = Console()
    beside = console.width >= _BESIDE
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("model" if beside else "model\n    family", no_wrap=True)
    table.add_column("variant of" if beside else "variant of\nattention", no_wrap=beside, overflow="fold")
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("lengths", justify="right", no_wrap=True)
    if beside:
        table.add_column("attention", overflow="fold")
        table.add_column("family", overflow="fold")
    for modality, group in groupby(descriptions, key=lambda each: each.entry.modality):
        of_modality = list(group)
        table.add_row(Text(modality, "cyan"), "", "", Text(f"{of_modality[0].entry.unit}s", "cyan"))
        for each in of_modality:
            entry = each.entry
            name, attentions = Text(f"  {entry.name}", "bold"), ", ".join(entry.attentions)
            lengths = f"{entry.shortest:,}\u2013{entry.longest:,}"
            figures = (name, entry.vanilla or "", format_count(each.parameters), lengths)
            if beside:
                table.add_row(*figures, attentions, entry.family)
            else:
                table.add_row(*figures)
                table.add_row(f"    {entry.family}", attentions, style="dim")
    console.print(table)

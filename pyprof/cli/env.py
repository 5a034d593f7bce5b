"""`pyprof env`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, print_json

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Show the machine and the software that results depend on, and their fingerprint.

Results of different fingerprints are never merged.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    add_json(add_command(commands, "env", _run, _DESCRIPTION))


def _run(options: argparse.Namespace) -> int:
    from pyprof.measure.environment import current_environment

    environment = current_environment()
    if options.json:
        print_json(environment.to_json())
        return 0
    from rich.console import Console
    from rich.table import Table

    from pyprof.measure.quantity import format_bytes

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in environment.to_json().items():
        label = name.removesuffix("_bytes").replace("_", " ")
        if name == "gpus":
            value = ", ".join(f"{gpu.name} ({gpu.capability})" for gpu in environment.gpus)
        shown = format_bytes(value) if name.endswith("_bytes") else str(value)
        table.add_row(label, "none" if value in (None, "") else shown)
    Console().print(table)
    return 0

"""`pyprof status`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, directory, print_json

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Show what a run is doing: its workers, what is done, and about how long is left.

DIR is the directory that `pyprof study -o DIR` writes, from any terminal of a machine that sees it. The run is not
disturbed: it is read, and not asked.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "status", _run, _DESCRIPTION)
    parser.add_argument("directory", metavar="DIR", type=directory, help="the directory of a run")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.report import status

    told = status.status_of(options.directory)
    if options.json:
        print_json(told.to_json())
        return 0
    from pyprof.report.console import Console

    status.write(told, Console())
    return 0

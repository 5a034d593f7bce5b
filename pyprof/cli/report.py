"""`pyprof report`."""

from __future__ import annotations

import argparse
import gc
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, directory, print_json

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.records.run_directory import Run

_DESCRIPTION = """Print the report of a run: where time goes, and from which length each variant costs less.

DIR is the directory that `pyprof study -o DIR` has written, of a run that is still going on too.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "report", _run, _DESCRIPTION)
    parser.add_argument("directory", metavar="DIR", type=directory, help="the directory of a run")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.records.run_directory import read

    # Tens of thousands of records live until the end, and the collector would walk them again and again for nothing.
    gc.disable()
    try:
        show(read(options.directory), as_json=options.json)
    finally:
        gc.enable()
    return 0


def show(run: Run, *, as_json: bool) -> None:
    """Print the report of a run on standard output."""
    from pyprof.report import as_json as json_report
    from pyprof.report import terminal
    from pyprof.report.console import Console
    from pyprof.report.run import view_of

    view = view_of(run)
    if as_json:
        print_json(json_report.document(view))
    else:
        terminal.write(view, Console())

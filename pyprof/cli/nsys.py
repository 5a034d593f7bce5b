"""`pyprof nsys`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli.collector import collector_off
from pyprof.cli.options import add_command, add_json, print_json

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.layers.profile import Profile

_DESCRIPTION = """Show device time by layer from a recording of Nsight Systems.

FILE is an SQLite export (`nsys export --type sqlite`), or a report (.nsys-rep), which is exported first where nsys is
installed. A kernel belongs to the layer whose range was open when it was launched: record with `pyprof profile MODEL
--nsys`, or any program of yours with PYPROF_NVTX=1 around probes. The file is only read.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "nsys", _run, _DESCRIPTION)
    parser.add_argument("file", metavar="FILE", type=Path, help="an SQLite export, or a report (.nsys-rep)")
    parser.add_argument("--expand", action="store_true", help="show every block of a repeated kind, not their mean")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.traces.nsys_tool import read_any

    with collector_off():
        profile = read_any(options.file)
    show(profile, options.file.name, as_json=options.json, expand=options.expand)
    return 0


def show(profile: Profile, name: str, *, as_json: bool, expand: bool) -> None:
    """Print what was read from a trace."""
    if as_json:
        print_json({"file": name, **profile.to_json()})
        return
    from pyprof.report import layers
    from pyprof.report.console import Console

    layers.write(profile, Console(), title=name, expand=expand)

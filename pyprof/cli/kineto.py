"""`pyprof kineto`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli.nsys import show
from pyprof.cli.options import add_command, add_json

if TYPE_CHECKING:
    from pyprof.cli.options import Commands

_DESCRIPTION = """Show device time by layer from a trace that torch.profiler wrote.

FILE is what `export_chrome_trace` or `tensorboard_trace_handler` wrote, JSON, also gzipped. Layers are its nn.Module
events (record with with_stack=True) and its record_function ranges; steps are those of the profiler's schedule.
"""


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "kineto", _run, _DESCRIPTION)
    parser.add_argument("file", metavar="FILE", type=Path, help="a trace, .json or .json.gz")
    parser.add_argument("--expand", action="store_true", help="show every block of a repeated kind, not their mean")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.traces import kineto

    show(kineto.read(options.file), options.file.name, as_json=options.json, expand=options.expand)
    return 0

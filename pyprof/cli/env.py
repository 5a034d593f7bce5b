"""`pyprof env`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyprof.cli.options import add_command, add_json, add_pin, add_seconds, print_json
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from pyprof.cli.options import Commands
    from pyprof.records.environment import Environment

_DESCRIPTION = """Show the machine and the software that results depend on, and their fingerprint.

Results with different fingerprints are never merged. With --check a fixed work runs repeatedly for a few seconds, and
what disturbs measurements on this machine is listed, with what to do about it. This is advice: the exit code stays 0.
"""
_SECONDS = 10.0


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "env", _run, _DESCRIPTION)
    parser.add_argument("--check", action="store_true", help="check how quiet the machine is, and say what to change")
    add_seconds(parser, default=None, help=f"how long --check takes (default: {_SECONDS:g})")
    add_pin(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from pyprof.machine import pin

    if options.seconds is not None and not options.check:
        raise UsageError("--seconds belongs to --check: give both, or neither")
    seconds = _SECONDS if options.seconds is None else options.seconds
    pin.apply(options.pin)
    from pyprof.machine.environment import current_environment

    environment = current_environment()
    if options.check:
        return _check(environment, seconds, as_json=options.json)
    if options.json:
        print_json(environment.to_json())
        return 0
    from rich.table import Table

    from pyprof.quantity import format_bytes
    from pyprof.report.console import Console

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


def _check(environment: Environment, seconds: float, *, as_json: bool) -> int:
    from pyprof.machine.check import check

    machine = check(seconds)
    if as_json:
        print_json({"environment": environment.to_json(), **machine.to_json()})
        return 0
    from pyprof.report import noise
    from pyprof.report.console import Console

    noise.write(machine, Console())
    return 0

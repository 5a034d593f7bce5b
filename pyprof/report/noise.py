"""How quiet a machine is, in a terminal: the checks of `pyprof env --check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyprof.report.style import plural

if TYPE_CHECKING:
    from pyprof.machine.check import MachineCheck

_STYLES = {"ok": "green", "warn": "bold yellow", "unknown": "dim"}


def write(machine: MachineCheck, console: Console) -> None:
    """Write the table of all checks, and below it what a comparison on this machine can show."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("check", style="bold", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for check in machine.checks:
        status = Text(check.status, _STYLES[check.status])
        advice = Text(check.advice or "", "cyan" if check.status == "warn" else "")
        table.add_row(check.name, status, Text(check.found), advice)
    console.print(table)
    warnings = sum(check.status == "warn" for check in machine.checks)
    summary = f"{plural(warnings, 'warning')} in {plural(len(machine.checks), 'check')}"
    console.print(Text(f"{summary if warnings else 'Nothing here disturbs measurements'}. {machine}"))

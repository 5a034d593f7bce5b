"""How quiet a machine is, in a terminal: the checks of `pyprof env --check`, and what a run's report says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyprof.analysis.noise import SLOW, RunNoise
from pyprof.records.noise import CAUSES
from pyprof.report.style import plural, short_case

if TYPE_CHECKING:
    from pyprof.machine.check import MachineCheck

_STYLES = {"ok": "green", "warn": "bold yellow", "unknown": "dim"}
_SHOWN = 3


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


def quiet_lines(quiet: RunNoise) -> Iterator[Text]:
    """A paragraph on what the system reported during a run, and one on the machine's speed and the slow cases."""
    yield Text(_reported(quiet))
    if quiet.slowest is None:
        return
    text = Text(f"A fixed work timed between the samples ran at {100 * quiet.slowest:.0f} to 100 % of its best speed")
    if not quiet.slow:
        yield text.append(f"; no case ran while the machine was slow (typically below {100 * SLOW:.0f} %).")
        return
    shown = ", ".join(f"{short_case(each.case)} ({100 * each.speed:.0f} %)" for each in quiet.slow[:_SHOWN])
    more = f", and {len(quiet.slow) - _SHOWN:,} more" if len(quiet.slow) > _SHOWN else ""
    text.append(f"; {len(quiet.slow):,} of {plural(quiet.cases, 'case')} ran while the machine was slow", "yellow")
    text.append(f" (typically below {100 * SLOW:.0f} %): {shown}{more}.")
    yield text.append(" This makes their times longer, but hardly changes ratios within the same rounds.", "dim")


def _reported(quiet: RunNoise) -> str:
    parts = []
    if quiet.samples:
        by = ", ".join(f"{count:,} by {CAUSES.get(cause, cause)}" for cause, count in quiet.causes.items())
        share = f"{100 * quiet.hit / quiet.samples:.1f} % of {plural(quiet.samples, 'sample')} were hit by noise"
        parts.append(f"{share} ({by})" if by else f"None of {plural(quiet.samples, 'sample')} was hit by noise")
    if quiet.others_share is not None:
        parts.append(f"other processes used {100 * quiet.others_share:.0f} % of all cores")
    if quiet.steal_share:
        parts.append(f"the hypervisor withheld {100 * quiet.steal_share:.1f} % of the time")
    if quiet.throttled:
        parts.append("the clock was lowered for heat or power")
    text = "; ".join(parts) or "The system reported nothing"
    return f"{text[0].upper()}{text[1:]}."

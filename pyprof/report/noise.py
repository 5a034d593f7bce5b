"""How quiet a machine is, in a terminal: the checks of `pyprof env --check`, and what a run's report says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyprof.analysis.noise import SLOW, RunNoise
from pyprof.records.case import Case
from pyprof.records.noise import CAUSES
from pyprof.report.style import plural

if TYPE_CHECKING:
    from pyprof.machine.check import Verdict

_STYLES = {"ok": "green", "warn": "bold yellow", "unknown": "dim"}
_SHOWN = 3


def write(verdict: Verdict, console: Console) -> None:
    """Write the table of all checks, and below it what a comparison on this machine can show."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("check", style="bold", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for one in verdict.checks:
        status = Text(one.status, _STYLES[one.status])
        table.add_row(one.name, status, Text(one.found), Text(one.advice or "", "cyan" if one.status == "warn" else ""))
    console.print(table)
    warnings = sum(one.status == "warn" for one in verdict.checks)
    said = (
        "Nothing here disturbs measurements." if not warnings else f"{warnings} of {len(verdict.checks)} checks warn."
    )
    console.print(Text(f"{said} {verdict}"))


def quiet_lines(quiet: RunNoise) -> Iterator[Text]:
    """A paragraph on what the system told during a run, and one on how fast the machine was, and for which cases."""
    yield Text(_told(quiet))
    if quiet.slowest is None:
        return
    text = Text(f"A fixed work timed between the samples ran at {100 * quiet.slowest:.0f} to 100 % of its best speed")
    if not quiet.slow:
        yield text.append(f"; no case had a slow machine (typically below {100 * SLOW:.0f} %).")
        return
    shown = ", ".join(f"{_short(one.case)} ({100 * one.speed:.0f} %)" for one in quiet.slow[:_SHOWN])
    more = f", and {len(quiet.slow) - _SHOWN:,} more" if len(quiet.slow) > _SHOWN else ""
    text.append(f"; {len(quiet.slow):,} of {plural(quiet.cases, 'case')} had a slow machine", "yellow")
    text.append(f" (typically below {100 * SLOW:.0f} %): {shown}{more}.")
    yield text.append(" Their times are longer for it; ratios within the same rounds hardly differ.", "dim")


def _short(case: Case) -> str:
    return f"{case.model} {case.attention} {case.mode} {case.length:,}"


def _told(quiet: RunNoise) -> str:
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
    text = "; ".join(parts) or "The system told nothing"
    return f"{text[0].upper()}{text[1:]}."

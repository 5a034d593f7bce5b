"""Which processes used the processors over some time, from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyprof.timing.cores import ROOT

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A process with the processor time that it used, as a share of one core (2.0: two cores)."""

    pid: int
    name: str
    share: float


@dataclass(frozen=True)
class Usage:
    """The `ticks` that a process had used at one moment; a later process of its number has another `started`."""

    name: str
    started: int
    ticks: int


def processor_ticks(root: Path = ROOT) -> dict[int, Usage]:
    """What every process but this one has used; empty without /proc."""
    usages = {}
    for path in (root / "proc").glob("[0-9]*"):
        try:
            text = (path / "stat").read_text(errors="replace")
        except OSError:  # it has ended since it was listed
            continue
        # The name stands in brackets and may hold brackets and spaces itself.
        begin, _, rest = text.rpartition(")")
        columns = rest.split()
        if len(columns) > 19 and int(path.name) != os.getpid():
            ticks = int(columns[11]) + int(columns[12])
            usages[int(path.name)] = Usage(begin.partition("(")[2], int(columns[19]), ticks)
    return usages


def busiest(
    before: Mapping[int, Usage], after: Mapping[int, Usage], seconds: float, least: float = 0.01
) -> list[Process]:
    """The processes that used at least this share of a core between two readings, the busiest first."""
    processes = []
    for pid, now in after.items():
        earlier = before.get(pid)
        # One that has started meanwhile has used all of its ticks since. The name says nothing, as it may change.
        ticks = now.ticks - (earlier.ticks if earlier is not None and earlier.started == now.started else 0)
        share = ticks * _TICK_SECONDS / seconds
        if share >= least:
            processes.append(Process(pid, now.name, share))
    return sorted(processes, key=lambda process: (-process.share, process.pid))

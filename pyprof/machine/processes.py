"""Which processes used the processors over some time, from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyprof.timing.cores import ROOT
from pyprof.timing.process_usage import TICK_SECONDS, Usage, usage_of


@dataclass(frozen=True)
class Process:
    """A process with the processor time that it used, as a share of one core (2.0: two cores)."""

    pid: int
    name: str
    share: float


def processor_ticks(root: Path = ROOT) -> dict[int, Usage]:
    """What every process but this one has used; empty without /proc."""
    usages = {}
    for path in (root / "proc").glob("[0-9]*"):
        usage = usage_of(path) if int(path.name) != os.getpid() else None
        if usage is not None:  # it may have ended since it was listed
            usages[int(path.name)] = usage
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
        share = ticks * TICK_SECONDS / seconds
        if share >= least:
            processes.append(Process(pid, now.name, share))
    return sorted(processes, key=lambda process: (-process.share, process.pid))

"""What one process has used of the processors, from /proc. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """The `ticks` that a process had used at one moment; a later process of its number has another `started`."""

    name: str
    started: int
    ticks: int


def usage_of(process: Path) -> Usage | None:
    """What the process of a folder of /proc has used; None where it has ended or the system does not tell."""
    try:
        text = (process / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in brackets and may hold brackets and spaces itself.
    begin, _, rest = text.rpartition(")")
    columns = rest.split()
    if len(columns) < 20:
        return None
    return Usage(begin.partition("(")[2], int(columns[19]), int(columns[11]) + int(columns[12]))

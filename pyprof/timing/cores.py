"""The processors of this machine: which ones may be used, which share a physical core, and how busy each one is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pyprof.errors import UsageError

ROOT = Path("/")


# What `remember` found.
_remembered: list[int] = []


def remember() -> None:
    """Keep what `usable_cores` tells now, for a process that is to load OpenMP.

    Where its threads are to stay on a processor each, the first one may use no other from then on.
    """
    _remembered[:] = usable_cores()


def usable_cores() -> list[int]:
    """The numbers of the processors that this process may use."""
    if _remembered:
        return list(_remembered)
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # only Linux tells
        return list(range(os.cpu_count() or 1))


def parse(text: str) -> list[int]:
    """The numbers of "0,2-3", as the kernel and `taskset` write them; raises UsageError."""
    cores: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise UsageError(f"{text!r} is no list of processors: write their numbers such as 0,2-3")
        cores.update(range(first, last + 1))
    return sorted(cores)


def spoken(cores: Iterable[int]) -> str:
    """The shortest text that `parse` reads: "0,2-3"."""
    ranges: list[list[int]] = []
    for core in sorted(cores):
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def siblings(core: int, root: Path = ROOT) -> list[int]:
    """The processors of the same physical core, itself among them; itself alone where the system doesn't tell."""
    try:
        listed = (root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
        return parse(listed.strip())
    except (OSError, UsageError):
        return [core]


@dataclass(frozen=True)
class Ticks:
    """How many ticks a processor, or all of them together, worked, was withheld by the hypervisor, and had in all."""

    busy: int
    stolen: int
    every: int

    def __add__(self, other: Ticks) -> Ticks:
        return Ticks(self.busy + other.busy, self.stolen + other.stolen, self.every + other.every)

    def __sub__(self, other: Ticks) -> Ticks:
        return Ticks(self.busy - other.busy, self.stolen - other.stolen, self.every - other.every)


def parse_ticks(text: str) -> dict[str, Ticks]:
    """The lines ``cpu0 user nice system idle iowait irq softirq steal guest guest_nice`` of /proc/stat, by their names.

    "cpu" stands for all processors together. Guests' ticks are in the user's. A line that is cut off is left out.
    """
    lines = {}
    for match in re.finditer(r"(?m)^(cpu\d*)\s+((?:\d+\s+){8})", text):
        user, nice, system, idle, waiting, irq, softirq, stolen = map(int, match[2].split())
        busy = user + nice + system + irq + softirq
        lines[match[1]] = Ticks(busy, stolen, busy + stolen + idle + waiting)
    return lines


def busy_ticks(root: Path = ROOT) -> dict[int, tuple[int, int]]:
    """Of every processor the ticks that it worked or was withheld by the hypervisor, and all; empty without /proc."""
    try:
        lines = parse_ticks((root / "proc/stat").read_text())
    except OSError:
        return {}
    return {int(name[3:]): (ticks.busy + ticks.stolen, ticks.every) for name, ticks in lines.items() if name != "cpu"}


def busy_shares(before: Mapping[int, tuple[int, int]], after: Mapping[int, tuple[int, int]]) -> dict[int, float]:
    """The share of the time between two readings in which each processor was busy."""
    return {
        core: (after[core][0] - busy) / (after[core][1] - every)
        for core, (busy, every) in before.items()
        if core in after and after[core][1] > every
    }

"""Settings of the machine and of this process that disturb measurements: governor, turbo, threads, pinning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyprof.machine import pin
from pyprof.quantity import plural
from pyprof.timing.cores import ROOT, siblings, spoken, usable_cores

CheckStatus = Literal["ok", "warn", "unknown"]

NOT_REPORTED = "not reported by the system"

_MANY_CORES = 8
_CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True)
class Check:
    """One thing that disturbs measurements: what was found, and what to do about it where something can be done."""

    name: str
    status: CheckStatus
    found: str
    advice: str | None = None


def settings(threads: int, root: Path = ROOT) -> Iterator[Check]:
    """Checks of the settings of the machine and of this process."""
    yield _governor(root)
    yield _turbo(root)
    yield _hyperthreads(threads, root)
    yield _threads(threads, root)
    yield _pinning(root)
    yield from _battery(root)


def _governor(root: Path) -> Check:
    governors = sorted(set(of_cores(root, "cpufreq/scaling_governor")))
    if not governors:
        return Check("governor", "unknown", not_reported(root))
    if governors == ["performance"]:
        return Check("governor", "ok", "performance")
    return Check("governor", "warn", ", ".join(governors), "sudo cpupower frequency-set -g performance")


def _turbo(root: Path) -> Check:
    intel, boost = root / _CPUS / "intel_pstate/no_turbo", root / _CPUS / "cpufreq/boost"
    for path, on, off in ((intel, "0", "1"), (boost, "1", "0")):
        text = read(path)
        if text == on:
            command = f"echo {off} | sudo tee /{path.relative_to(root)}"
            return Check("turbo", "warn", "on: the clock follows heat and the load of other cores", command)
        if text == off:
            return Check("turbo", "ok", "off")
    return Check("turbo", "unknown", not_reported(root))


def _hyperthreads(threads: int, root: Path) -> Check:
    name, cores = "hyperthreads", usable_cores()
    groups = {tuple(siblings(core, root)) for core in cores}
    if all(len(group) == 1 for group in groups):
        if _virtual(root):
            advice = "see steadiness for what neighbours do; a dedicated machine has none"
            return Check(name, "unknown", "a virtual machine hides who shares its cores", advice)
        return Check(name, "ok", "every processor is a core of its own")
    if len(groups) == len(cores):
        return Check(name, "ok", "every usable processor is on a core of its own; keep the cores' other halves free")
    found = f"{len(cores)} processors on {plural(len(groups), 'core')}"
    what = f"{threads} threads have to share them" if threads > len(groups) else "two threads may land on one core"
    return Check(name, "warn", f"{found}: {what}", "--pin auto, a core for each thread")


def _threads(threads: int, root: Path) -> Check:
    cores, quota = len(usable_cores()), _quota(root)
    found = f"{threads} for {plural(cores, 'processor')}"
    if quota is not None and quota < min(threads, cores):
        found += f", of which the container grants {quota:g}"
        return Check(
            "threads", "warn", found, f"OMP_NUM_THREADS={max(1, int(quota))}: beyond its quota the container is halted"
        )
    if threads > cores:
        return Check("threads", "warn", found, f"OMP_NUM_THREADS={cores} or --pin, which sets it")
    return Check("threads", "ok", found)


def _pinning(root: Path) -> Check:
    cores, nodes = usable_cores(), len(list((root / "sys/devices/system/node").glob("node[0-9]*")))
    here = f"not pinned: may run on {plural(len(cores), 'processor')}" + (
        f" of {nodes} memory nodes" if nodes > 1 else ""
    )
    if pin.pinned() is not None:
        return Check("pinning", "ok", f"pinned to {spoken(cores)}")
    if len(cores) > _MANY_CORES or (nodes > 1 and len(cores) > 1):
        return Check("pinning", "warn", here, "--pin auto, or numactl --cpunodebind=0 --membind=0")
    return Check("pinning", "ok", here if len(cores) > 1 else "only one processor to run on")


def _battery(root: Path) -> Iterator[Check]:
    """Only where there is a battery: whether the mains feed the machine."""
    supplies = [path for path in (root / "sys/class/power_supply").glob("*") if read(path / "type") == "Mains"]
    if supplies and all(read(path / "online") == "0" for path in supplies):
        yield Check("power", "warn", "on battery, which lowers the clock", "plug it in")


def _virtual(root: Path) -> bool:
    return re.search(r"(?m)^flags\s*:.*\bhypervisor\b", read(root / "proc/cpuinfo")) is not None


def not_reported(root: Path) -> str:
    """What a check says where the system reports nothing, and why that may be."""
    return f"{NOT_REPORTED}, a virtual machine" if _virtual(root) else NOT_REPORTED


def _quota(root: Path) -> float | None:
    """How many processors' time a container is granted (cgroup v2, then v1); None without a limit."""
    text = read(root / "sys/fs/cgroup/cpu.max").split()
    if len(text) != 2:
        text = [read(root / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
    quota, period = text
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def of_cores(root: Path, name: str) -> list[str]:
    """What a file says of each usable processor that has it."""
    texts = (read(root / _CPUS / f"cpu{core}" / name) for core in usable_cores())
    return [text for text in texts if text]


def read(path: Path) -> str:
    """What a small file says; nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""

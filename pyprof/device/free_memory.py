"""How much memory a measurement may use: what the machine, its control groups or the device have free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pyprof.errors import UsageError
from pyprof.quantity import format_bytes

if TYPE_CHECKING:
    import torch

# What is left to everything beside the tensors: libraries' own buffers, fragmentation, other processes.
SHARE = 0.9


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes that may be used, and where the number comes from, in words."""

    bytes: int
    source: str

    def __str__(self) -> str:
        return f"{format_bytes(self.bytes)} ({self.source})"


def memory_budget(device: torch.device | str = "cpu", share: float = SHARE) -> MemoryBudget:
    """A share of the memory now free on the host or on a CUDA device; raises UsageError where that cannot be told."""
    available = device_available(device) if str(device).startswith("cuda") else host_available()
    return MemoryBudget(int(available.bytes * share), f"{share:.0%} of {available.source}")


def device_available(device: torch.device | str, cuda: Any = None) -> MemoryBudget:
    """Free memory of a CUDA device, with what this process's caching allocator holds without need."""
    if cuda is None:
        import torch

        cuda = torch.cuda
    free, _ = cuda.mem_get_info(device)
    cached = cuda.memory_reserved(device) - cuda.memory_allocated(device)
    return MemoryBudget(free + cached, "the device's free memory")


def host_available(root: Path = Path("/")) -> MemoryBudget:
    """The host's available memory, or what a control group (version 1 or 2) leaves of its limit if that is less.

    Page cache that the kernel would give back at once counts as available, in the group as on the host. `root` is where
    /proc and /sys are looked for. Raises UsageError where the system doesn't tell.
    """
    try:
        available = _table(root / "proc/meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError):
        raise UsageError(
            "this system does not tell how much memory is free: set a memory budget such as 8 GiB"
        ) from None
    budgets = [MemoryBudget(available, "the host's available memory")]
    for directory in _version_2_groups(root):
        left = _left(directory, limit="memory.max", usage="memory.current", reclaimable="inactive_file")
        budgets += [MemoryBudget(left, "what the control group's limit leaves")] if left is not None else []
    for directory in _version_1_groups(root):
        left = _left(
            directory, "memory.limit_in_bytes", usage="memory.usage_in_bytes", reclaimable="total_inactive_file"
        )
        budgets += [MemoryBudget(left, "what the control group's limit leaves")] if left is not None else []
    return min(budgets, key=lambda budget: budget.bytes)


def _version_2_groups(root: Path) -> Iterator[Path]:
    for line in _group_lines(root):
        if line.startswith("0::"):
            # Where version 1 still rules, version 2 is mounted beside its controllers.
            yield from _with_parents(root / "sys/fs/cgroup", line.removeprefix("0::"))


def _version_1_groups(root: Path) -> Iterator[Path]:
    for line in _group_lines(root):
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield from _with_parents(root / "sys/fs/cgroup/memory", path)


def _group_lines(root: Path) -> list[str]:
    try:
        return (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []


def _with_parents(mount: Path, path: str) -> Iterator[Path]:
    """The group's directory and those of all groups around it, whose limits hold as well.

    A container may see its own group as the mount itself, under a path that only the host knows; then just the mount is
    there to be read.
    """
    inside = PurePosixPath(path.lstrip("/"))
    yield mount / inside
    yield from (mount / parent for parent in inside.parents)


def _left(directory: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """What a group may still take, in bytes; None without a limit."""
    try:
        most = (directory / limit).read_text().strip()
        if most == "max":
            return None
        used = int((directory / usage).read_text()) - _table(directory / "memory.stat").get(reclaimable, 0)
    except (OSError, ValueError):
        return None
    return max(0, int(most) - max(0, used))


def _table(path: Path) -> dict[str, int]:
    """The name and the number at the start of each line."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdigit()}

"""The host: its processor does the work, and its memory holds the tensors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pyprof.device.base import Device, EnergyMeter, Occupation
from pyprof.device.memory import MemoryBudget, MemoryReading
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from pyprof.timing.clock import Stopwatch

# Floating-point operations per second that transformers reach by each thread of a processor.
RATE_PER_THREAD = 60e9


class HostDevice(Device):
    """The processor that runs this process.

    Work is done when its call returns, so that there is nothing to wait for and stamps on the host are the layers'
    times. Throttling isn't asked for here: a watch reads the system's counters of all cores anyway.
    """

    limits_host_memory = True

    def __init__(self, name: str = "cpu") -> None:
        if name != "cpu":
            raise UsageError(f"there is no device {name!r}: the host is one device, so write cpu")
        super().__init__(name)

    def available(self) -> str | None:
        return None

    def stopwatch(self) -> Stopwatch:
        from pyprof.timing.clock import HostStopwatch

        return HostStopwatch()

    def synchronize(self) -> None:
        """Nothing: PyTorch queues no work on the host."""

    def peak_memory(self, fn: Callable[[], object]) -> MemoryReading:
        """Call `fn` once, and count every allocation of PyTorch's allocator to the byte.

        Those by this thread are counted, and by the autograd threads that work for it; memory that libraries take for
        themselves is not seen. Gradients that the call leaves behind count as long as they are live. Raises UsageError
        under a running torch.profiler, which takes the only place to which PyTorch reports the host's allocations;
        `fn` must not start one itself.
        """
        return self.watched_peak_memory(lambda peak: fn())

    def watched_peak_memory(self, fn: Callable[[Callable[[], int]], object]) -> MemoryReading:
        """The same; raises UsageError under a running torch.profiler."""
        import torch

        from pyprof._native import HostMemory

        if torch._C._autograd._profiler_enabled():
            raise UsageError(
                "host memory cannot be measured while torch.profiler runs, because both need PyTorch's one memory "
                "report: stop the profiler first"
            )
        with HostMemory() as memory:
            fn(lambda: memory.peak)
            return MemoryReading(memory.peak, memory.allocated, memory.allocations)

    def free_memory(self) -> MemoryBudget:
        return available_memory()

    def energy_meter(self) -> EnergyMeter:
        """RAPL's counters of all processor packages, where the system lets them be read."""
        from pyprof.device.rapl import Rapl

        return Rapl()

    def occupation(self, fn: Callable[[], object]) -> Occupation:
        """How long a core of those that PyTorch may use had nothing to do in a call, on average, wherever that lies.

        A thread that waits for others actively, as OpenMP's do for a while, counts as busy.
        """
        import torch

        threads = torch.get_num_threads()
        begin, used = time.perf_counter_ns(), time.process_time_ns()
        fn()
        used, whole = time.process_time_ns() - used, time.perf_counter_ns() - begin
        return Occupation(idle=max(whole - round(used / threads), 0), whole=whole)

    def guessed_rate(self, threads: int) -> float:
        return RATE_PER_THREAD * threads


def available_memory(root: Path = Path("/")) -> MemoryBudget:
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

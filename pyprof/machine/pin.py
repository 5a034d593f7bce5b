"""Keep the measurement on chosen processors, so that the scheduler moves no thread and neighbours can be avoided."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from pyprof.errors import UsageError
from pyprof.timing.cores import ROOT, busy_shares, busy_ticks, parse, siblings, spoken, usable_cores

# Child processes inherit the affinity, and this variable tells them that it was requested.
VARIABLE = "PYPROF_PINNED"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_OBSERVED_SECONDS = 0.5
# A core that is busier than the quietest one by more than this share has something else to do.
_TOLERANCE = 0.1


def apply(text: str | None, threads: int | None = None, root: Path = ROOT) -> str | None:
    """Pin this process and its future children to the processors of `text`: "0,2-3" or "auto"; None does nothing.

    Libraries that have not started yet get `threads` threads; without it one for each processor, or fewer where
    OMP_NUM_THREADS asks for fewer. Call it before torch is imported, whose threads keep what they start with. Returns
    the processors as text; raises UsageError for those that do not exist, and where the system cannot pin.
    """
    if text is None:
        return None
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("this system cannot pin a process to processors: leave --pin out")
    cores = _chosen(text, root)
    for task in _tasks(root):
        # A thread may have ended since it was listed.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(task, cores)
    count = threads if threads is not None else min(len(cores), _wanted_threads() or len(cores))
    for name in _THREADS:
        os.environ[name] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
    os.environ[VARIABLE] = spoken(cores)
    return spoken(cores)


def pinned() -> str | None:
    """The processors that this process or the one that started it was pinned to by `apply`; None where there is none.

    An affinity from elsewhere (a container, a batch system) is none: there every job gets other processors, and their
    number is recorded anyway.
    """
    text = os.environ.get(VARIABLE)
    return text if text is not None and text == spoken(usable_cores()) else None


def quietest(
    root: Path = ROOT, seconds: float = _OBSERVED_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> list[int]:
    """The least busy processor of each quiet physical core that may be used.

    A physical core is as busy as all its processors together, those that this process may not use among them. Quiet
    are the quietest and all within a tenth of it. Where the system reports nothing, all cores are equally quiet.
    """
    before = busy_ticks(root)
    sleep(seconds)
    busy = busy_shares(before, busy_ticks(root))
    usable = usable_cores()
    groups: dict[tuple[int, ...], list[int]] = {}
    for core in usable:
        groups.setdefault(tuple(siblings(core, root)), []).append(core)
    loads = {group: sum(busy.get(core, 0.0) for core in group) for group in groups}
    least = min(loads.values())
    quiet = [own for group, own in groups.items() if loads[group] <= least + _TOLERANCE]
    return sorted(min(own, key=lambda core: (busy.get(core, 0.0), core)) for own in quiet)


def _chosen(text: str, root: Path) -> list[int]:
    if text.strip() == "auto":
        return quietest(root)
    try:
        cores = parse(text)
    except UsageError:
        raise UsageError(f"--pin takes processors such as 0,2-3 or the word auto, not {text!r}") from None
    missing = _without(cores, usable_cores())
    if missing:
        raise UsageError(
            f"--pin {text} asks for {spoken(missing)}, but this process may use {spoken(usable_cores())}: choose from "
            "those, or auto"
        )
    return cores


def _without(cores: Collection[int], others: Collection[int]) -> list[int]:
    return sorted(set(cores).difference(others))


def _tasks(root: Path) -> list[int]:
    """All threads of this process; zero, which stands for the calling one, where they are not listed."""
    try:
        return [int(task.name) for task in (root / "proc/self/task").iterdir()]
    except OSError:
        return [0]


def _wanted_threads() -> int | None:
    """What the user has set already; nested levels and nonsense count as nothing."""
    text = os.environ.get(_THREADS[0], "")
    return int(text) if text.isdigit() and int(text) > 0 else None

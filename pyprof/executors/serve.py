"""What a worker of many does with a task: measure it, or say that it was lost through no fault of its cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pyprof.errors import PyprofError
from pyprof.records.environment import Environment
from pyprof.records.executor import Advance, Lost, Measured, Outcome, Ready, Task, Worker, by_itself
from pyprof.records.place import Place
from pyprof.records.record import Record
from pyprof.timing.cores import spoken, usable_cores
from pyprof.worker.executors import TOOK_TOO_LONG
from pyprof.worker.obituary import KILLED

# What CUDA, its libraries and NVIDIA's driver say, in lower case, where a card or the process's use of it is gone.
_GONE = (
    "cuda error",
    "cuda_error",
    "cublas_status_execution_failed",
    "cudnn_status_execution_failed",
    "device-side assert",
    "fallen off the bus",
    "gpu is lost",
    "no cuda gpus are available",
    "uncorrectable ecc",
)
# A group that takes so many times as long as predicted, until its time is up, has met a worker that hangs.
HANGING = 10.0
# How often a group may take all the time that it is allowed.
MOST_TIMEOUTS = 2
COUNTERS = Path("/proc/vmstat")


def measure_task(
    worker: Worker, ready: Ready, task: Task, place: Place, tell: Callable[[Advance], None] = lambda advance: None
) -> Measured | Lost:
    """Measure a group with a worker that has been started, `ready` being what it said then; `tell` is told how far.

    Records carry the place. A group is lost where the worker itself fails, where a process was killed and not by the
    system for want of memory, where the GPU is gone, or where it took all its time though it was predicted to be short;
    the worker is fresh then. Where the task is the last attempt, what comes of it stands.
    """
    place = replace(place, attempt=task.attempt, group=task.group, together=len(task.cases))
    kills, begin = memory_kills(), time.monotonic()
    try:
        outcomes = tuple(_outcomes(worker, task, tell))
    except PyprofError as error:
        return Lost(task.id, str(error), place)
    killed = any(_was_killed(each.record) for each in outcomes)
    if killed and kills is not None and memory_kills() == kills:
        # Somebody else did that, which says nothing about the group.
        return Lost(task.id, "its measuring process was killed, and not by the system", place, counts=False)
    reason = None if task.last else _fault(outcomes, task, killed, time.monotonic() - begin)
    if reason is not None:
        # What its process holds of a device may be gone, too; the next group gets a fresh one.
        worker.close()
        return Lost(task.id, reason, place)
    stamped = tuple(replace(each, record=replace(each.record, place=place)) for each in outcomes)
    return Measured(task.id, stamped, ready.environment)


def _outcomes(worker: Worker, task: Task, tell: Callable[[Advance], None]) -> Iterator[Outcome]:
    for told in worker.measure_together(task.cases):
        if isinstance(told, Advance):
            tell(told)
        else:
            yield told


def place_of(environment: Environment, machine: str | None = None) -> Place:
    """The place that a worker with that environment is: the GPUs that it sees, or the processors that it may use."""
    cards = ", ".join(f"cuda:{number} {gpu.uuid}" for number, gpu in enumerate(environment.gpus))
    return Place(machine or environment.hostname, cards or f"cores {spoken(usable_cores())}")


def memory_kills(counters: Path = COUNTERS) -> int | None:
    """How many processes the system has killed for want of memory since it started; None where it does not tell."""
    try:
        lines = counters.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _was_killed(record: Record) -> bool:
    # Where it was one rank of several, that is said before.
    return (record.reason or "").endswith(KILLED) or by_itself(KILLED) in record.notes


def _fault(outcomes: Sequence[Outcome], task: Task, killed: bool, seconds: float) -> str | None:
    """What speaks for a fault of the worker and not of the cases, None where nothing does."""
    if killed:
        return KILLED
    for outcome in outcomes:
        record = outcome.record
        reason = (record.reason or "").lower()
        if record.status == "error" and any(sign in reason for sign in _GONE):
            return f"its device failed: {record.reason}"
        late = record.status == "timeout" or by_itself(TOOK_TOO_LONG) in record.notes
        if late and task.attempt < MOST_TIMEOUTS and 0 < task.seconds * HANGING < seconds:
            return f"its worker hung: {record.reason or TOOK_TOO_LONG}"
    return None

"""The executor slurm: its options, and how it is made from them."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

from pyprof.errors import UsageError
from pyprof.executors.kind import Asked, Kind, Option
from pyprof.quantity import LONGEST_SECONDS, parse_duration
from pyprof.records import validate

if TYPE_CHECKING:
    from pyprof.executors.slurm_executor import SlurmExecutor


def whole(least: int) -> validate.Check:
    """A whole number from `least`, as a number or as it is written on a command line."""

    def check(value: Any) -> int:
        number = int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value
        return validate.whole(least, validate.LARGE)(number)  # type: ignore[no-any-return]

    return check


def how_many(workers: str | None, default: int) -> int:
    """The number that --workers gives; raises UsageError where it is none."""
    try:
        return default if workers is None else whole(1)(workers)
    except validate.Refused as refused:
        raise UsageError(f"--workers {refused}") from None


def _sbatch(value: Any) -> dict[str, str | bool]:
    """Options as sbatch takes them: --gres=gpu:1 --exclusive."""
    try:
        words = shlex.split(validate.text(value))
    except ValueError as error:
        raise validate.Refused(f"cannot be split into options: {error}") from None
    for word in words:
        if not word.startswith("--") or not word[2:3].isalpha():
            raise validate.Refused(f"takes long options of sbatch, such as '--gres=gpu:1 --exclusive', not {word!r}")
    pairs = (word[2:].partition("=") for word in words)
    return {name: value if equals else True for name, equals, value in pairs}


_seconds = validate.quantity(parse_duration, "2 h", LONGEST_SECONDS)


def _create(asked: Asked) -> SlurmExecutor:
    from pyprof.executors.slurm_executor import Pace, SlurmExecutor
    from pyprof.executors.slurm_queue import Resources

    options = dict(asked.options)
    seconds = options.pop("time", None)
    pace = Pace(idle=options.pop("idle", Pace.idle))
    more = options.pop("sbatch", {})
    minutes = None if seconds is None else max(1, math.ceil(seconds / 60))
    resources = Resources(**options, minutes=minutes, more=more)
    workers = how_many(asked.workers, 1)
    return SlurmExecutor(asked.directory, workers, resources, resumed=asked.resumed, pace=pace, tell=asked.tell)


EXECUTOR = Kind(
    name="slurm",
    summary="jobs of a Slurm cluster, over a directory that its machines share",
    create=_create,
    options=(
        Option("partition", validate.text, "partition of the jobs"),
        Option("account", validate.text, "account that the jobs are charged to"),
        Option("qos", validate.text, "quality of service"),
        Option("time", _seconds, "time limit of a job, such as 4h (default: the partition's)"),
        Option("cpus", whole(1), "processors of a job, and its threads unless the study says so (default: 1)"),
        Option("gpus", whole(0), "GPUs of a job"),
        Option("memory", validate.text, "memory of a job, such as 32G"),
        Option("constraint", validate.text, "features that a node has to have, so that all jobs run on one kind"),
        Option("idle", _seconds, "how long a job waits for a group before it ends (default: 60 s)"),
        Option("sbatch", _sbatch, "further options of sbatch, such as '--gres=gpu:a100:1 --nice=100'"),
    ),
)

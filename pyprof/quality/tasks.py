"""The tasks by name; importing this loads no torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyprof.errors import UsageError
from pyprof.names import imported_object, is_reference, nearest

if TYPE_CHECKING:
    from pyprof.quality.task import Task

# Where the class of each task is. The first six are those of Long Range Arena.
TASKS: Mapping[str, str] = {
    "listops": "pyprof.quality.arena.listops:ListOps",
    "text": "pyprof.quality.arena.text:Text",
    "retrieval": "pyprof.quality.arena.retrieval:Retrieval",
    "image": "pyprof.quality.arena.image:Image",
    "pathfinder": "pyprof.quality.arena.pathfinder:Pathfinder",
    "pathx": "pyprof.quality.arena.pathfinder:PathX",
    "speech": "pyprof.quality.asr.task:Speech",
    "speech_frozen": "pyprof.quality.asr.task:FrozenSpeech",
    "language": "pyprof.quality.language:Language",
}
ARENA = ("listops", "text", "retrieval", "image", "pathfinder", "pathx")


def find(name: str, directory: Path | None = None, **options: Any) -> Task:
    """The task of a name, or of ``package.module:Class``, with its data in a directory.

    Raises UsageError for a task that does not exist, for a directory that is not there or not wanted, and for options
    that the task does not have.
    """
    found = kind(name)
    taken = inspect.signature(found).parameters
    for option in options:
        if option not in taken:
            raise UsageError(f"the task {name} has no {option}: leave it out")
    return found(directory, **options)


@cache
def kind(name: str) -> type[Task]:
    """The class of a task; raises UsageError that suggests the nearest name."""
    from pyprof.quality.task import Task

    where = TASKS.get(name)
    if where is None and not is_reference(name):
        raise UsageError(
            f"there is no task {name!r}: {nearest(name, TASKS)} (a package.module:Class of yours works too)"
        )
    found = imported_object(where or name, "the task", "class")
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UsageError(f"{name} is no pyprof.quality.task.Task: check the name")
    return found

"""A directory that a run and its jobs share: groups to be measured, who took them, and what came of them.

Every step is a file that is written in whole or renamed, so that it works over a shared file system and whoever is
killed leaves it whole. Clocks of two machines are never compared. A folder is listed instead of asking for a name,
since a network file system remembers for a minute that a name was not there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pyprof.errors import IncompleteError, PyprofError
from pyprof.failures import is_full, said_of_file
from pyprof.records.executor import Report, Task, report_from_json
from pyprof.records.whole_file import PARTIAL, write_whole

SETTINGS, STOP, LOGS, _FIRST = "settings.json", "stop", "logs", "first"
_TODO, _TAKEN, _BEGAN, _DONE, _WORKERS = "todo", "taken", "began", "done", "workers"
_END = ".json"
Message = dict[str, Any]
Folder = Literal["began", "done"]


@dataclass(frozen=True)
class Told:
    """A report about a task, and the file that it lies in."""

    folder: Folder
    name: str
    task: Task
    report: Report


class Spool:
    """The directory, as both sides see it. Raises PyprofError where it cannot be read or written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._number = 0

    @property
    def settings(self) -> Message | None:
        """What the run that made the directory noted for its jobs, and for whoever goes on with it."""
        return _read(self.directory / SETTINGS) if SETTINGS in _names(self.directory) else None

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Make the directory where there is none, and note the settings."""
        try:
            for folder in (_TODO, _TAKEN, _BEGAN, _DONE, _WORKERS, LOGS):
                (self.directory / folder).mkdir(parents=True, exist_ok=True)
            for name in (STOP, _FIRST):
                (self.directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise _failed(error) from error
        _write(self.directory / SETTINGS, settings)

    # The side of the run.

    def put(self, task: Task) -> None:
        """Leave a group for whoever is free; those that are left first are taken first."""
        if not self._number:
            self._number = max((int(name.partition("-")[0]) for name in self._all()), default=0)
        self._number += 1
        _write(self.directory / _TODO / f"{self._number:06d}-{task.id}{_END}", task.to_json())

    def waiting(self) -> list[Task]:
        """The groups that nobody has taken."""
        tasks = (_read(self.directory / _TODO / name) for name in self._files(_TODO))
        return [Task.from_json(task) for task in tasks if task is not None]

    def taken(self) -> dict[str, list[Task]]:
        """The groups that each worker has taken and not handed in."""
        found: dict[str, list[Task]] = {}
        for worker in self._workers_that_took():
            folder = self.directory / _TAKEN / worker
            tasks = (_read(folder / name) for name in self._files(f"{_TAKEN}/{worker}"))
            found[worker] = [Task.from_json(task) for task in tasks if task is not None]
        return found

    def told(self, folder: Folder) -> Iterator[Told]:
        """What workers reported, "began" or "done", in the order of the groups."""
        for name in self._files(folder):
            message = _read(self.directory / folder / name)
            if message is not None:
                yield Told(folder, name, Task.from_json(message["task"]), report_from_json(message["report"]))

    def forget(self, told: Told) -> None:
        """Remove a report that is kept elsewhere now."""
        (self.directory / told.folder / told.name).unlink(missing_ok=True)

    def withdraw(self, task: str) -> bool:
        """Remove a group by its task's id, unless a worker was faster."""
        for name in self._files(_TODO):
            if _id(name) == task:
                try:
                    (self.directory / _TODO / name).unlink()
                except FileNotFoundError:
                    return False
                return True
        return False

    def take_back(self, worker: str) -> list[str]:
        """The tasks that a worker took which is no more, and of which nothing came back, by their ids."""
        held = self._files(f"{_TAKEN}/{worker}")
        # Whoever hands in writes what came of a group before it gives the group back.
        finished = set(self._files(_DONE))
        for name in held:
            (self.directory / _TAKEN / worker / name).unlink(missing_ok=True)
        return [_id(name) for name in held if name not in finished]

    def workers(self, but: Collection[str] = ()) -> Mapping[str, Message]:
        """What workers, but for some, said of themselves when they were ready, or why they refused."""
        names = [name for name in self._files(_WORKERS) if name.removesuffix(_END) not in but]
        messages = {name.removesuffix(_END): _read(self.directory / _WORKERS / name) for name in names}
        return {name: message for name, message in messages.items() if message is not None}

    def dismiss(self, worker: str) -> None:
        """Remove what a worker said of itself."""
        (self.directory / _WORKERS / f"{worker}{_END}").unlink(missing_ok=True)

    def stop(self) -> None:
        """Tell all workers to end when they are done with what they are at."""
        _write(self.directory / STOP, {})

    def remove(self) -> None:
        """Remove the directory and all that is in it."""
        shutil.rmtree(self.directory, ignore_errors=True)

    # The side of a worker.

    def register(self, worker: str, message: Mapping[str, Any]) -> None:
        """Say that a worker is ready, or why it refuses."""
        (self.directory / _TAKEN / worker).mkdir(exist_ok=True)
        _write(self.directory / _WORKERS / f"{worker}{_END}", message)

    def is_first(self) -> bool:
        """True for the first worker that asks."""
        try:
            os.close(os.open(self.directory / _FIRST, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            return False
        except OSError as error:
            raise _failed(error) from error
        return True

    def offers(self) -> Iterator[tuple[str, Task]]:
        """The groups that can be taken, each with the name of its file, the one that has waited longest first."""
        for name in self._files(_TODO):
            message = _read(self.directory / _TODO / name)
            if message is not None:
                yield name, Task.from_json(message)

    def take(self, worker: str, name: str) -> bool:
        """Take a group, unless another is faster."""
        try:
            (self.directory / _TODO / name).rename(self.directory / _TAKEN / worker / name)
        except FileNotFoundError:
            # A network file system may have done it and, as the answer was lost, have asked again.
            return name in self._files(f"{_TAKEN}/{worker}")
        return True

    def tell(self, folder: Folder, name: str, task: Task, report: Report) -> None:
        """Report that a group "began", or that it is "done"."""
        _write(self.directory / folder / name, {"task": task.to_json(), "report": report.to_json()})

    def give_back(self, worker: str, name: str) -> None:
        """A group is no longer this worker's."""
        (self.directory / _TAKEN / worker / name).unlink(missing_ok=True)

    @property
    def stopped(self) -> bool:
        """Whether workers are told to end, or the directory is gone."""
        names = _names(self.directory)
        return STOP in names or SETTINGS not in names

    def _files(self, folder: str) -> list[str]:
        names = _names(self.directory / folder)
        return sorted(name for name in names if name.endswith(_END) and not name.endswith(PARTIAL))

    def _workers_that_took(self) -> list[str]:
        return sorted(_names(self.directory / _TAKEN))

    def _all(self) -> Iterator[str]:
        for folder in (_TODO, _BEGAN, _DONE, *(f"{_TAKEN}/{worker}" for worker in self._workers_that_took())):
            yield from self._files(folder)


def _id(name: str) -> str:
    return name.removesuffix(_END).partition("-")[2]


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _failed(error) from error


def _read(path: Path) -> Message | None:
    """A file's message; None where it was removed in between."""
    try:
        message: Message = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(error) from error
    except ValueError as error:
        raise PyprofError(f"{path} is damaged, as it holds no JSON: remove {path.parent.parent}") from error
    return message


def _write(path: Path, message: Mapping[str, Any]) -> None:
    try:
        write_whole(path, json.dumps(message))
    except OSError as error:
        raise _failed(error) from error


def _failed(error: OSError) -> PyprofError:
    return (IncompleteError if is_full(error) else PyprofError)(said_of_file(error))

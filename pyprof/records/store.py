"""Writing a run directory: one writer at a time, whole lines, and nothing lost on a full disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyprof.errors import IncompleteError, UsageError
from pyprof.failures import is_full
from pyprof.plain import shown
from pyprof.records import toml, trainings
from pyprof.records.environment import Environment
from pyprof.records.executor import Columns, Outcome
from pyprof.records.lock import GRACE_SECONDS, Lock
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.records.run_directory import (
    ENVIRONMENT,
    ENVIRONMENTS,
    LAYERS,
    LOCK,
    PAGE,
    PROGRESS,
    RECORDS,
    RESOLVED,
    STUDY,
    read,
)
from pyprof.records.strict_json import parsed
from pyprof.records.study import Study
from pyprof.records.whole_file import HALVES, PARTIAL, write_whole

# What a run that ended before its first record may have left.
_OWN = (STUDY, RESOLVED, ENVIRONMENT, ENVIRONMENTS, RECORDS, LAYERS, LOCK, PAGE, PROGRESS, trainings.FOLDER)


class Store:
    """The one writer of a run directory; it holds the directory's lock until it is closed.

    `previous` holds what is there already when a run is resumed. Raises UsageError where the directory cannot be used:
    it holds a run and `resume` is false, it holds none and `resume` is true, it holds files that are no run's, or
    another process writes to it. `keeps` are the names of what an executor has there beside.
    """

    def __init__(self, directory: Path, resume: bool = False, keeps: Sequence[str] = ()) -> None:
        self.directory = directory
        self._known: set[str] = set()
        try:
            has_run = (directory / STUDY).exists() or _holds_something(directory / RECORDS)
            foreign = [] if has_run else _foreign(directory, keeps)
        except OSError as error:
            raise UsageError(f"{directory} cannot be used ({error.strerror}): choose another -o") from error
        if foreign:
            more = f" and {len(foreign) - 1:,} more" if len(foreign) > 1 else ""
            raise UsageError(f"{directory} holds {shown(foreign[0])}{more} and no run: choose a new directory for -o")
        if has_run and not resume:
            raise UsageError(f"{directory} already holds a run: go on with it by --resume, or choose another -o")
        if resume and not has_run:
            raise UsageError(f"{directory} holds no run to go on with: leave --resume out, or check -o")
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            kind = IncompleteError if is_full(error) else UsageError
            raise kind(f"{directory} cannot be written ({error.strerror}): choose another -o") from error
        self._lock = Lock(directory / LOCK)
        try:
            self.previous = read(directory) if resume else None
            self._records = _Journal(directory / RECORDS)
            self._layers = _Journal(directory / LAYERS)
        except BaseException:
            self._lock.release()
            raise

    @property
    def taken_over(self) -> str | None:
        """A sentence where the lock was another machine's that has ended, else None."""
        return self._lock.taken_over

    def promise(self, seconds: float = GRACE_SECONDS) -> None:
        """Say that this process goes on, and that it says so again within that time."""
        self._lock.promise(seconds)

    def begin(self, study: Study, resolved: Resolved, environment: Environment) -> None:
        """Write the study, what it resolved and the environment, before the first record."""
        self._known = {environment.fingerprint}
        if self.previous is not None:
            self._known |= self.previous.environments.keys()
        try:
            if self.previous is None or self.previous.environment.fingerprint == environment.fingerprint:
                write_whole(self.directory / ENVIRONMENT, _document(environment.to_json()))
            write_whole(self.directory / RESOLVED, _document(resolved.to_json()))
            write_whole(self.directory / STUDY, toml.dumps(study.to_table()))
        except OSError as error:
            raise self._cannot_write(error) from error

    def meet(self, environment: Environment) -> bool:
        """Write down one more environment in which the run measures; false where it is known already."""
        if environment.fingerprint in self._known:
            return False
        try:
            journal = _Journal(self.directory / ENVIRONMENTS)
            try:
                journal.append(environment.to_json())
            finally:
                journal.close()
        except OSError as error:
            raise self._cannot_write(error) from error
        self._known.add(environment.fingerprint)
        return True

    def append(self, record: Record, layers: Columns | None = None) -> None:
        """Put a record on disk, layers first; on return it survives a crash. Raises IncompleteError on a full disk."""
        self.append_all((Outcome(record, layers),))

    def append_all(self, outcomes: Sequence[Outcome]) -> None:
        """Put the records of a group on disk, all of them or none; see `append`. Then forget how they were trained."""
        written = self._layers.size
        layers = [{"key": each.record.case.key, **each.layers} for each in outcomes if each.layers]
        try:
            if layers:
                self._layers.append(*layers)
            self._records.append(*(each.record.to_json() for each in outcomes))
        except OSError as error:
            self._layers.cut(written)
            raise self._cannot_write(error) from error
        trainings.forget(self.directory, (each.record for each in outcomes))

    def append_layers(self, key: str, layers: Columns) -> None:
        """Put the layers of a case on disk whose record follows; raises IncompleteError on a full disk."""
        try:
            self._layers.append({"key": key, **layers})
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Close the files and give the lock back."""
        self._records.close()
        self._layers.close()
        self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cannot_write(self, error: OSError) -> IncompleteError:
        return IncompleteError(
            f"{self.directory} cannot be written ({error.strerror}): what was measured before is kept there, "
            "so make room and go on with --resume"
        )


class _Journal:
    """A file of whole lines: a torn last line is repaired when it is opened, and none is left by a failing write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        content = path.read_bytes()
        self.size = len(content)
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            try:
                parsed(content[whole:])
            except ValueError:
                self.cut(whole)
            else:
                self._write(b"\n")

    def append(self, *lines: Mapping[str, Any]) -> None:
        content = "".join(
            json.dumps(line, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n" for line in lines
        ).encode(errors=HALVES)
        before = self.size
        try:
            self._write(content)
            os.fsync(self._file)
        except OSError:
            self.cut(before)
            raise

    def cut(self, size: int) -> None:
        """Shorten the file to `size` bytes, which a full disk never prevents."""
        os.ftruncate(self._file, size)
        self.size = size

    def close(self) -> None:
        os.close(self._file)

    def _write(self, content: bytes) -> None:
        while content:
            written = os.pwrite(self._file, content, self.size)
            self.size += written
            content = content[written:]


def _document(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _foreign(directory: Path, keeps: Sequence[str]) -> list[str]:
    """What is in a directory that is no run's."""
    names = [each.name for each in directory.iterdir()] if directory.is_dir() else []
    return sorted(name for name in names if name.removesuffix(PARTIAL) not in (*_OWN, *keeps))


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0

"""Writing a run directory: one writer at a time, whole lines, and nothing lost on a full disk."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyprof.errors import IncompleteError, UsageError
from pyprof.failures import is_full
from pyprof.plain import shown
from pyprof.records import toml
from pyprof.records.environment import Environment
from pyprof.records.executor import Columns
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.records.run_directory import ENVIRONMENT, LAYERS, LOCK, PAGE, RECORDS, RESOLVED, STUDY, read
from pyprof.records.strict_json import parsed
from pyprof.records.study import Study
from pyprof.records.whole_file import HALVES, PARTIAL, write_whole

# What a run that ended before its first record may have left.
_OWN = (STUDY, RESOLVED, ENVIRONMENT, RECORDS, LAYERS, LOCK, PAGE)


class Store:
    """The one writer of a run directory; it holds the directory's lock until it is closed.

    `previous` holds what is there already when a run is resumed. Raises UsageError where the directory cannot be used:
    it holds a run and `resume` is false, it holds none and `resume` is true, it holds files that are no run's, or
    another process writes to it.
    """

    def __init__(self, directory: Path, resume: bool = False) -> None:
        self.directory = directory
        try:
            has_run = (directory / STUDY).exists() or _holds_something(directory / RECORDS)
            foreign = [] if has_run else _foreign(directory)
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
            self._lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            kind = IncompleteError if is_full(error) else UsageError
            raise kind(f"{directory} cannot be written ({error.strerror}): choose another -o") from error
        try:
            self._take_lock()
            self.previous = read(directory) if resume else None
            self._records = _Journal(directory / RECORDS)
            self._layers = _Journal(directory / LAYERS)
        except BaseException:
            os.close(self._lock)
            raise

    def begin(self, study: Study, resolved: Resolved, environment: Environment) -> None:
        """Write the study, what it resolved and the environment, before the first record."""
        try:
            write_whole(self.directory / ENVIRONMENT, _document(environment.to_json()))
            write_whole(self.directory / RESOLVED, _document(resolved.to_json()))
            write_whole(self.directory / STUDY, toml.dumps(study.to_table()))
        except OSError as error:
            raise self._cannot_write(error) from error

    def append(self, record: Record, layers: Columns | None = None) -> None:
        """Put a record on disk, layers first; on return it survives a crash. Raises IncompleteError on a full disk."""
        key = record.case.key
        written = self._layers.size
        try:
            if layers:
                self._layers.append({"key": key, **layers})
            self._records.append(record.to_json())
        except OSError as error:
            self._layers.cut(written)
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Close the files and give the lock back."""
        self._records.close()
        self._layers.close()
        os.close(self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process writes to {self.directory}: wait for it, or choose another -o"
            ) from error
        except OSError as error:
            raise UsageError(f"{self.directory} cannot be locked ({error.strerror}): choose another -o") from error

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

    def append(self, data: Mapping[str, Any]) -> None:
        line = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(errors=HALVES)
        line += b"\n"
        before = self.size
        try:
            self._write(line)
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


def _foreign(directory: Path) -> list[str]:
    """What is in a directory that is no run's."""
    names = [each.name for each in directory.iterdir()] if directory.is_dir() else []
    return sorted(name for name in names if name.removesuffix(PARTIAL) not in _OWN)


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0

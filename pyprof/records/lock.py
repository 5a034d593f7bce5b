"""The lock of a run directory: one process writes to it at a time, on whatever machine it runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyprof.errors import IncompleteError, UsageError
from pyprof.failures import is_full
from pyprof.quantity import format_seconds
from pyprof.records import validate

# Clocks of file servers tell whole seconds, and a busy machine is late.
GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Owner:
    """Who holds the lock of a run directory: it writes again within `seconds`, or it has ended."""

    machine: str
    process: int
    since: str
    seconds: float

    def __str__(self) -> str:
        return f"process {self.process} on {self.machine}, since {self.since}"


class Lock:
    """The lock of a directory, held from here to `release`.

    The system's lock of a file tells of processes of this machine, and gives the lock back when one dies. Not every
    shared file system passes it on to other machines; so the file also holds who has it, and its own time of change
    says, by the clock of the file system alone, whether that process still writes.

    `taken_over` is a sentence where an earlier owner on another machine had ended without giving the lock back, else
    None. Raises UsageError where another process holds it, or where the file cannot be written or locked, and
    IncompleteError on a full disk.
    """

    def __init__(self, path: Path, seconds: float = GRACE_SECONDS) -> None:
        self.path = path
        self.taken_over: str | None = None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._owner = Owner(socket.gethostname(), os.getpid(), now, seconds)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            kind = IncompleteError if is_full(error) else UsageError
            raise kind(f"{path.parent} cannot be written ({error.strerror}): choose another -o") from error
        try:
            self._take()
            self.promise(seconds)
        except BaseException:
            os.close(self._file)
            raise

    def promise(self, seconds: float) -> None:
        """Say that this process goes on, and that it says so again within that time."""
        content = json.dumps({**asdict(self._owner), "seconds": seconds}).encode()
        # A full disk is told where a record does not fit.
        with contextlib.suppress(OSError):
            os.pwrite(self._file, content, 0)
            os.ftruncate(self._file, len(content))

    def release(self) -> None:
        """Give the lock back."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)

    def _take(self) -> None:
        directory = self.path.parent
        owner = owner_of(self.path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = "another process" if owner is None else f"another process ({owner})"
            raise UsageError(f"{who} writes to {directory}: wait for it, or choose another -o") from error
        except OSError as error:
            raise UsageError(f"{directory} cannot be locked ({error.strerror}): choose another -o") from error
        if owner is None or owner.machine == self._owner.machine:
            return
        silent = _age(self.path)
        if silent < owner.seconds + GRACE_SECONDS:
            raise UsageError(
                f"another coordinator ({owner}) wrote to {directory} {format_seconds(silent)} ago: wait for it, or "
                f"remove {self.path} if it has ended"
            )
        self.taken_over = (
            f"the lock of {directory} was stale and is taken over: its owner ({owner}) has been silent for "
            f"{format_seconds(silent)}"
        )


def owner_of(path: Path) -> Owner | None:
    """Who is written in the file of a lock; None where nobody is, or where it cannot be read."""
    try:
        data: Mapping[str, Any] = json.loads(path.read_bytes())
        return _OWNER(data)
    except (OSError, ValueError, validate.Refused):
        return None


def is_held(path: Path) -> bool:
    """Whether a process holds the lock now, as far as this machine can tell."""
    owner = owner_of(path)
    if owner is None:
        return False
    if owner.machine != socket.gethostname():
        return _age(path) < owner.seconds + GRACE_SECONDS
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def _age(path: Path) -> float:
    """For how many seconds a file has not been changed, by the clock of its file system."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as now:
            now.write(b"now")
            now.flush()
            return max(0.0, os.fstat(now.fileno()).st_mtime - path.stat().st_mtime)
    except OSError:
        return 0.0


_OWNER = validate.instance(
    Owner,
    machine=validate.text,
    process=validate.whole(1),
    since=validate.text,
    seconds=validate.not_negative,
)

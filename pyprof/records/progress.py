"""What a run is doing, as its coordinator writes it down for others to read."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pyprof.errors import UsageError
from pyprof.records import validate
from pyprof.records.lock import is_held
from pyprof.records.run_directory import LOCK, PROGRESS

State = Literal["running", "done", "interrupted", "failed"]
STATES: tuple[State, ...] = ("running", "done", "interrupted", "failed")
_LOOKS, _BETWEEN_LOOKS = 5, 0.02


@dataclass(frozen=True)
class Busy:
    """A group that is being measured: since when (ISO 8601, UTC), and how many seconds it is predicted to take.

    `what` says how far it is, where that takes long.
    """

    cases: tuple[str, ...]
    machine: str
    device: str
    attempt: int
    since: str
    seconds: float
    what: str | None = None


@dataclass(frozen=True)
class Progress:
    """A run at one moment; `left` is in seconds, predicted, and `counts` are records by status.

    `free` names the workers that have nothing to do; `told` are sentences about what went wrong on the way: lost
    workers, clocks that differ, a stale lock.
    """

    study: str
    executor: str
    machine: str
    process: int
    began: str
    updated: str
    state: State
    done: int
    total: int
    left: float
    counts: Mapping[str, int] = field(default_factory=dict)
    busy: tuple[Busy, ...] = ()
    free: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        """Rebuild it; raises UsageError where a field is missing, unknown or damaged."""
        progress: Progress = validate.checked(_PROGRESS, data, "the progress")
        return progress


def write(directory: Path, progress: Progress) -> None:
    """Write it down, if there is room: it is news, and nothing depends on it.

    It is written over the old one, since a new file in its place would wait for the disk while cases are timed.
    """
    content = (json.dumps(progress.to_json()) + "\n").encode()
    with contextlib.suppress(OSError):
        file = os.open(directory / PROGRESS, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(file, content, 0)
            os.ftruncate(file, len(content))
        finally:
            os.close(file)


def read(directory: Path) -> Progress | None:
    """What a run was doing when that was last written down, None where it never was; raises UsageError if damaged."""
    path = directory / PROGRESS
    for look in range(_LOOKS):
        try:
            return Progress.from_json(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
        except (ValueError, UsageError) as error:
            # It may be being written at this moment.
            if look == _LOOKS - 1:
                raise UsageError(f"{path} is damaged ({error}): remove it") from error
            time.sleep(_BETWEEN_LOOKS)
    raise AssertionError("the last look returns or raises")


def is_running(directory: Path) -> bool:
    """Whether a process measures into that directory now, as far as this machine can tell."""
    return is_held(directory / LOCK)


_BUSY = validate.instance(
    Busy,
    absent=("what",),
    cases=validate.listing(validate.words),
    machine=validate.words,
    device=validate.words,
    attempt=validate.whole(1, validate.LARGE),
    since=validate.words,
    seconds=validate.not_negative,
    what=validate.optional(validate.text),
)
_PROGRESS = validate.instance(
    Progress,
    study=validate.words,
    executor=validate.words,
    machine=validate.words,
    process=validate.whole(1),
    began=validate.words,
    updated=validate.words,
    state=validate.one_of(STATES, "state"),
    done=validate.whole(0),
    total=validate.whole(0),
    left=validate.not_negative,
    counts=validate.mapping(validate.whole(0)),
    busy=validate.listing(_BUSY),
    free=validate.listing(validate.words),
    told=validate.listing(validate.words),
)

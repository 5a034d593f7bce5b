"""What a run is doing, as its coordinator writes it down for others to read."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pyprof.errors import UsageError
from pyprof.records import validate
from pyprof.records.lock import is_held
from pyprof.records.run_directory import LOCK, PROGRESS
from pyprof.records.whole_file import write_whole

State = Literal["running", "done", "interrupted", "failed"]
STATES: tuple[State, ...] = ("running", "done", "interrupted", "failed")


@dataclass(frozen=True)
class Busy:
    """A group that is being measured: since when (ISO 8601, UTC), and how many seconds it is predicted to take."""

    cases: tuple[str, ...]
    machine: str
    device: str
    attempt: int
    since: str
    seconds: float


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
    """Write it down, if there is room: it is news, and nothing depends on it."""
    with contextlib.suppress(OSError):
        write_whole(directory / PROGRESS, json.dumps(progress.to_json(), ensure_ascii=False) + "\n", durable=False)


def read(directory: Path) -> Progress | None:
    """What a run was doing when that was last written down, None where it never was; raises UsageError if damaged."""
    path = directory / PROGRESS
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a JSON object ({error}): remove it") from error
    try:
        return Progress.from_json(data)
    except UsageError as error:
        raise UsageError(f"{path} is damaged ({error}): remove it") from error


def is_running(directory: Path) -> bool:
    """Whether a process measures into that directory now, as far as this machine can tell."""
    return is_held(directory / LOCK)


_BUSY = validate.instance(
    Busy,
    cases=validate.listing(validate.words),
    machine=validate.words,
    device=validate.words,
    attempt=validate.whole(1, validate.LARGE),
    since=validate.words,
    seconds=validate.not_negative,
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

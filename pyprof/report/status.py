"""The state of a run that may still be going on, for the terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pyprof.failures import STATUSES
from pyprof.quantity import format_seconds, plural
from pyprof.records import progress
from pyprof.records.progress import Progress
from pyprof.records.run_directory import read

State = Literal["running", "done", "interrupted", "failed", "stopped"]
_WORDS: Mapping[State, str] = {
    "running": "is being measured",
    "done": "is done",
    "interrupted": "was interrupted: go on with --resume",
    "failed": "ended early: go on with --resume",
    "stopped": "was stopped without an end: go on with --resume",
}


@dataclass(frozen=True)
class RunStatus:
    """A run at this moment: `counts` are its records by status, `progress` what it last said of itself, if it did."""

    directory: Path
    study: str
    state: State
    counts: Mapping[str, int]
    progress: Progress | None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return {**asdict(self), "directory": str(self.directory)}


def status_of(directory: Path) -> RunStatus:
    """The state of a run; raises UsageError where there is none."""
    told = progress.read(directory)
    running = progress.is_running(directory)
    run = read(directory)
    state: State = "running" if running else "done"
    if not running and told is not None:
        state = "stopped" if told.state == "running" else told.state
    counts = Counter(record.status for record in run.records.values())
    return RunStatus(directory, run.study.name, state, {name: counts[name] for name in STATUSES}, told, run.warnings)


def write(status: RunStatus, console: Console, now: datetime | None = None) -> None:
    """Print it; `now` is the time that elapsed times are told from."""
    for part in _parts(status, datetime.now(UTC) if now is None else now):
        console.print(part, soft_wrap=not isinstance(part, Table))


def _parts(status: RunStatus, now: datetime) -> Iterator[RenderableType]:
    told = status.progress
    yield Text(f"{status.study} in {status.directory} {_WORDS[status.state]}")
    running = told is not None and status.state == "running"
    counts = ", ".join(f"{count} {name}" for name, count in status.counts.items() if count) or "nothing yet"
    done = f"{told.done} of {told.total} cases; " if told is not None and told.total else ""
    yield Text(f"{done}records: {counts}")
    if told is not None and running:
        left = f", about {format_seconds(told.left)} left" if told.left else ""
        since = _seconds_since(told.began, now)
        yield Text(f"by process {told.process} on {told.machine}, for {format_seconds(since)}{left}")
        yield from _workers(told, now)
    for sentence in (*status.warnings, *(told.told if told is not None else ())):
        yield Text(sentence)


def _workers(told: Progress, now: datetime) -> Iterator[RenderableType]:
    if told.busy:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for title in ("worker", "measures", "for", "predicted"):
            table.add_column(title, justify="right" if title in ("for", "predicted") else "left", overflow="fold")
        for busy in told.busy:
            more = f" and {len(busy.cases) - 1} more" if len(busy.cases) > 1 else ""
            attempt = f" (attempt {busy.attempt})" if busy.attempt > 1 else ""
            table.add_row(
                f"{busy.device} of {busy.machine}",
                f"{busy.cases[0]}{more}{attempt}{f' ({busy.what})' if busy.what else ''}",
                format_seconds(_seconds_since(busy.since, now)),
                format_seconds(busy.seconds),
            )
        yield table
    if told.free and told.busy:
        yield Text(f"{plural(len(told.free), 'worker')} without a group: {', '.join(told.free)}")


def _seconds_since(begin: str, now: datetime) -> float:
    try:
        return max(0.0, (now - datetime.fromisoformat(begin)).total_seconds())
    except (TypeError, ValueError):
        return 0.0

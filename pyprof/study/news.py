"""What a run tells others of itself: its progress in the run directory, and sentences about what went wrong."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pyprof.failures import Status
from pyprof.quantity import format_seconds
from pyprof.records import progress
from pyprof.records.place import Place
from pyprof.records.progress import Busy, Progress, State
from pyprof.study.flights import Flight

# How often the progress is written at most; what happens in between is told with the next.
_SELDOM = 0.5
# How many sentences are kept for `pyprof status`.
_MOST = 50


class News:
    """The progress of a run; `say` gets each sentence once."""

    def __init__(self, directory: Path, study: str, executor: str, say: Callable[[str], None] | None) -> None:
        self._directory = directory
        self._study = study
        self._executor = executor
        self._say = say
        self._began = datetime.now(UTC).isoformat(timespec="seconds")
        self._last: Progress | None = None
        self._due = 0.0
        self.told: list[str] = []

    def tell(self, sentence: str) -> None:
        """Something that a user should know; what was said before is not said again."""
        if sentence in self.told:
            return
        self.told.append(sentence)
        if self._say is not None:
            self._say(sentence)

    def compare_clocks(self, machine: str, theirs: str, ours: datetime, tolerance: float) -> None:
        """Say it where the clock of another machine differs from ours."""
        try:
            ahead = (datetime.fromisoformat(theirs) - ours).total_seconds()
        except (TypeError, ValueError):  # without a time zone, or no time at all
            return
        if abs(ahead) > tolerance and not any(each.startswith(f"the clock of {machine} ") for each in self.told):
            way = "ahead of" if ahead > 0 else "behind"
            self.tell(
                f"the clock of {machine} is {format_seconds(abs(ahead))} {way} that of {socket.gethostname()}: the "
                "times in its records are its own, and nothing else depends on them"
            )

    def is_due(self) -> bool:
        """Whether it is time to write the progress again."""
        return time.monotonic() >= self._due

    def write(
        self,
        done: int,
        total: int,
        left: float,
        counts: Mapping[Status, int],
        flights: Iterable[Flight],
        workers: Sequence[Place],
    ) -> None:
        """Write down what the run is doing."""
        flying = [flight for flight in flights if flight.place is not None]
        busy = {flight.place.seat for flight in flying if flight.place is not None}
        self._last = Progress(
            study=self._study,
            executor=self._executor,
            machine=socket.gethostname(),
            process=os.getpid(),
            began=self._began,
            updated=datetime.now(UTC).isoformat(timespec="seconds"),
            state="running",
            done=done,
            total=total,
            left=left if left < float("inf") else 0.0,
            counts={str(status): count for status, count in counts.items()},
            busy=tuple(_busy(flight, flight.place) for flight in flying if flight.place is not None),
            free=tuple(str(place) for place in workers if place.seat not in busy),
            told=tuple(self.told[-_MOST:]),
        )
        progress.write(self._directory, self._last)
        self._due = time.monotonic() + _SELDOM

    def end(self, state: State, counts: Mapping[Status, int]) -> None:
        """Write down how the run ended."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        done = self._last.done if self._last is not None else 0
        total = self._last.total if self._last is not None else 0
        ended = Progress(
            study=self._study,
            executor=self._executor,
            machine=socket.gethostname(),
            process=os.getpid(),
            began=self._began,
            updated=now,
            state=state,
            done=done,
            total=total,
            left=0.0,
            counts={str(status): count for status, count in counts.items()},
            told=tuple(self.told[-_MOST:]),
        )
        progress.write(self._directory, ended)


def _busy(flight: Flight, place: Place) -> Busy:
    cases = tuple(str(case) for case in flight.task.cases)
    task = flight.task
    return Busy(cases, place.machine, place.device, task.attempt, flight.since, task.seconds, flight.what or None)

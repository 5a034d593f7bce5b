"""What a run tells while it goes on, and what it gives when it has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyprof.failures import Status
from pyprof.records.case import Case
from pyprof.records.place import Place
from pyprof.records.record import Record
from pyprof.records.study import Study


@dataclass(frozen=True)
class Event:
    """What a run is doing, for a display of its progress; times in seconds, predicted where they lie ahead.

    Cases that are measured together have all started before the first of them is finished. `done` and `total` count
    cases, as far as they are known by now; `predicted` is that of the case. Of many workers, `place` is the one that
    measures the case. A case that takes long advances, with `what` it is at. A case that is lost comes again, or is
    finished as an error; `reason` says how it was lost.
    """

    kind: Literal["started", "advanced", "finished", "left out", "lost"]
    case: Case
    predicted: float
    done: int
    total: int
    elapsed: float
    left: float
    record: Record | None = None
    place: Place | None = None
    reason: str | None = None
    what: str = ""


@dataclass(frozen=True)
class RunResult:
    """A run when it has ended: all its records by key, those of earlier runs that it resumed included."""

    directory: Path
    study: Study
    records: Mapping[str, Record]
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many records have each status."""
        return Counter(record.status for record in self.records.values())

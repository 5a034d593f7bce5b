"""What passes between a run and the process that measures for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyprof.measure.environment import Environment
from pyprof.study.case import Case
from pyprof.study.file import Study
from pyprof.study.record import Record

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Ready:
    """An executor is ready: the study with the machine's choices filled in, and the environment it measures in."""

    study: Study
    environment: Environment


@dataclass(frozen=True)
class Outcome:
    """A record and the columns of its layers, None where there are none."""

    record: Record
    layers: Columns | None = None


class Executor(Protocol):
    """What measures cases, one after the other."""

    def start(self, study: Study) -> Ready:
        """Get ready to measure cases of the study; raises UsageError where the machine cannot."""
        ...

    def measure(self, case: Case) -> Outcome:
        """Measure one case. What goes wrong with it is a status of its record, never an exception."""
        ...

    def close(self) -> None:
        """Stop at once and free everything; may be called twice."""
        ...

"""What passes between a run and the process that measures for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyprof.records.case import Case
from pyprof.records.environment import Environment
from pyprof.records.record import Record
from pyprof.records.study import Study

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


def by_itself(why: str) -> str:
    """The note on a case that was not timed together with its group."""
    return f"timed by itself, not in the same rounds as what it is compared with: {why}"


class Executor(Protocol):
    """What measures cases."""

    def start(self, study: Study) -> Ready:
        """Get ready to measure cases of the study; raises UsageError where the machine cannot."""
        ...

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        """Measure cases of one comparison in the same rounds; give each outcome as soon as it is known, in any order.

        While the caller deals with an outcome, nothing is measured. What goes wrong with a case is a status of its
        record, never an exception, and the others are measured all the same, one by one if need be.
        """
        ...

    def close(self) -> None:
        """Stop at once and free everything; may be called twice."""
        ...

"""What the probes cost the steps that a run's layers were timed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from pyprof.records.record import Record


@dataclass(frozen=True)
class ProbedSteps:
    """How many times as long as a step without probes those with them took: typically, and at most, over the cases."""

    cases: int
    typical: float
    most: float


def probed_steps(records: Iterable[Record]) -> ProbedSteps | None:
    """The profiling overhead of the cases that know theirs; None where none does."""
    ratios = [record.overhead.value for record in records if record.overhead is not None]
    return ProbedSteps(len(ratios), median(ratios), max(ratios)) if ratios else None

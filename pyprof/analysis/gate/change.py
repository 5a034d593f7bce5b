"""What the gate says of one case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyprof.analysis.gate.shift import Scatter
from pyprof.records.case import Case
from pyprof.records.indicator import IndicatorFacts, OfIndicator

Verdict = Literal["regression", "improvement", "unchanged", "open", "too disturbed", "too few samples"]
VERDICTS: tuple[Verdict, ...] = (
    "regression",
    "improvement",
    "unchanged",
    "open",
    "too disturbed",
    "too few samples",
)
# A regression beyond this factor isn't called detectable: nothing that one would look for could have been shown.
LARGEST_DETECTABLE = 10.0

# What keeps a case from being judged: waits of its threads, another speed of the machine, or samples so far apart that
# no regression worth a gate could have been seen.
Obstacle = Literal["waits", "speed", "scatter"]


@dataclass(frozen=True)
class Change(OfIndicator):
    """How one metric of one case changed from the baseline to the head.

    `baseline` and `head` are in the metric's unit. `ratio` is the head's cost over the baseline's, above 1 where it
    costs more, with its own 95 % interval; for times it is an estimate that takes the machine's speed into account, so
    it isn't the ratio of the two figures beside it. `p` is adjusted for all cases that were judged; None for what is
    counted. `detectable` is the smallest regression that would have been shown in four of five such comparisons, None
    where not even a tenfold one would have been. `held_up` is the share of a typical round of the baseline and of the
    head in which other processes held its threads up, None where nothing tells.

    A regression or an improvement is shown beyond the margin, under control of all cases; unchanged is a case whose
    interval lies within the margin; open is one that might be any of these. One that is too disturbed was not judged,
    because of the `obstacle`.
    """

    case: Case
    indicator: IndicatorFacts
    baseline: float
    head: float
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict
    p: float | None = None
    detectable: float | None = None
    note: str | None = None
    held_up: tuple[float | None, float | None] = (None, None)
    obstacle: Obstacle | None = None


@dataclass(frozen=True)
class TimedMetric(OfIndicator):
    """How the cases of one indicator were compared, and the scatter between the runs.

    `corrected` says that a yardstick corrected their times, and `in_turn` that both runs were measured in turn.

    What other processes held up too much is not among the `cases`.
    """

    indicator: IndicatorFacts
    corrected: bool
    in_turn: bool
    cases: int
    scatter: Scatter

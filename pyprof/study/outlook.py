"""What lies ahead of a run, for its progress."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set

from pyprof.records.record import Record
from pyprof.study.plan import Plan
from pyprof.study.prediction import Prediction

# Up to this many seconds a look at the plan costs next to nothing.
_CHEAP = 5e-3
# A dearer look is taken so seldom that it is this share of the time.
_SHARE = 0.05


class Outlook:
    """How many cases a plan still wants, and how long they are predicted to take one after the other."""

    def __init__(self, plan: Plan, prediction: Prediction) -> None:
        self._plan = plan
        self._prediction = prediction
        self._cases = 0
        self._seconds = 0.0
        self._settled = 0
        self._next_look = 0.0

    def ahead(self, records: Mapping[str, Record], settled: Set[str]) -> tuple[int, float]:
        """The number and the seconds of what is neither settled nor under way; of a large plan as of a moment ago."""
        begin = time.monotonic()
        if begin >= self._next_look:
            cases = self._plan.outstanding(records, settled, self._prediction)
            self._cases, self._settled = len(cases), len(settled)
            self._seconds = sum(self._prediction.seconds(case) for case in cases)
            took = time.monotonic() - begin
            self._next_look = begin + took / _SHARE if took > _CHEAP else begin
        left = max(0, self._cases - (len(settled) - self._settled))
        return left, self._seconds * left / max(1, self._cases)

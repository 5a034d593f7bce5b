"""Looking at results while they come in, without erring more often than is said. Loads numpy only.

Whoever looks at an interval again and again, and stops as soon as it says enough, often stops at one that says so by
luck. There are two cures. Where the question is whether there is a difference, each look is paid for out of the error
rate (`AlphaSpending`). Where an interval only has to become narrow, the looks cost little coverage, and a higher level
makes up for it (`PrecisionLooks`).
"""

from __future__ import annotations

from collections.abc import Iterable

from pyprof.statistics.estimate import CONFIDENCE, Estimate

# Each further look of `AlphaSpending` comes when half as much again has passed, so that it gets a third of all that may
# have been spent by then: looks at even distances would each get too little to show anything.
_NEXT_LOOK = 1.5
# The level of intervals that are looked at while sampling goes on. Stopping at one that is narrow by luck costs up to
# two points of coverage, so that 95 % are kept by asking for as much as the fewest samples can give, which are six.
LOOKED_AT = 1 - 2 * 0.5**6


class AlphaSpending:
    """When to look while a limited time passes, and at which confidence, such that all looks together keep the level.

    Times are shares of the whole: 0 at the start, 1 at the end. The error rate 1 - `confidence` is spent in proportion
    to the time that has passed, and each look gets what came free since the one before (Lan and DeMets, Biometrika 70,
    1983, with the bound of a sum in place of the looks' joint distribution). It is spent by time because what a look
    may spend must not depend on what was seen: when the time ends is known from the start, and how many rounds it will
    hold is not.

    `first` is the time of the first look; `looks` counts those that were taken.
    """

    def __init__(self, confidence: float, first: float) -> None:
        self._alpha = 1 - confidence
        self._next = first
        self._spent = 0.0
        self.looks = 0

    def is_due(self, passed: float) -> bool:
        """Whether to look now; not from the end on, where there is the final look only."""
        return self._next <= passed < 1

    def look(self, passed: float = 1.0) -> float:
        """Take a look, by default the final one: the confidence of the interval to look at."""
        level, self._spent = self._alpha * (passed - self._spent), passed
        self._next = _NEXT_LOOK * passed
        self.looks += 1
        return 1 - level


class PrecisionLooks:
    """Whether half of each interval is at most `precision` of its value, from `fewest` samples on.

    The looks are spaced out, each when a quarter more samples are there than at the one before: every look is a chance
    to stop at intervals that are too narrow by luck, and since a quarter more samples narrow them by a tenth, looks in
    between would find little but luck. `confidence` is the level of the intervals that are looked at and told: that of
    `LOOKED_AT`, unless sampling ends at `most` samples anyway and these leave a single look.
    """

    def __init__(self, precision: float, fewest: int, most: int | None = None) -> None:
        self._precision = precision
        self._next = fewest
        self.confidence = CONFIDENCE if fewest == most else LOOKED_AT

    def is_due(self, count: int) -> bool:
        """Whether to look at so many samples."""
        return count >= self._next

    def look(self, count: int, estimates: Iterable[Estimate]) -> bool:
        """Look at the intervals that so many samples give: whether all are narrow enough."""
        self._next = count + max(1, count // 4)
        return all(map(self._suffices, estimates))

    def _suffices(self, estimate: Estimate) -> bool:
        half_width = estimate.relative_half_width
        return half_width is not None and half_width <= self._precision

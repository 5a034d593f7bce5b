"""End rounds as soon as the ratio of two contestants is known well enough, without erring more often for it."""

from __future__ import annotations

from collections.abc import Callable

from pyprof.statistics.estimate import Estimate
from pyprof.statistics.sequential import AlphaSpending
from pyprof.timing.interleave import Interleaved, RoundLimits
from pyprof.timing.settling import LongerLook


class RatioLooks:
    """A rule that ends the rounds when `suffices` says so of the logarithm of the ratio of `contestant` to `reference`.

    It is looked at while the time of the limits passes, each time at the level that `spending` leaves for it, from the
    limits' fewest rounds on. What is seen then has to be there still after a `LongerLook` in which no level changed:
    that estimate, at the level of the look before, counts. Rounds in which something failed end at once.
    """

    def __init__(
        self,
        name: str,
        contestant: str,
        reference: str,
        limits: RoundLimits,
        spending: AlphaSpending,
        suffices: Callable[[Estimate], bool],
    ) -> None:
        self.name = name
        self._pair = contestant, reference
        self._limits = limits
        self._spending = spending
        self._suffices = suffices
        self._last: Estimate | None = None
        self._longer = LongerLook()
        self._confidence = 0.0

    def reached(self, rounds: Interleaved) -> bool:
        """Whether the look that is due, if any, saw enough."""
        if rounds.failures:
            return True
        return self._longer.reached(rounds, lambda: self._look(rounds), lambda: self._holds(rounds))

    def _look(self, rounds: Interleaved) -> bool:
        passed = rounds.elapsed_ns * 1e-9 / self._limits.seconds
        if rounds.count < self._limits.fewest_rounds or not self._spending.is_due(passed):
            return False
        self._confidence = self._spending.look(passed)
        return self._holds(rounds)

    def _holds(self, rounds: Interleaved) -> bool:
        """Whether the rounds that are no warm-up suffice at the level of the last look."""
        rounds.settle()
        self._last = rounds.log_ratio(*self._pair, self._confidence)
        return rounds.count_settled >= self._limits.fewest_rounds and self._suffices(self._last)

    def final(self, rounds: Interleaved) -> Estimate:
        """The logarithm of the ratio at the last look: the one that ended the rounds, or one at all that is left."""
        if rounds.stopped_by == self.name and self._last is not None:
            return self._last
        return rounds.log_ratio(*self._pair, self._spending.look())

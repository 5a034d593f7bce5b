"""Estimates by ranks: how far differences are from zero, with an interval, and how far two samples lie apart.

Both estimates are those of Hodges and Lehmann (Annals of Mathematical Statistics 34, 1963). The interval ends at order
statistics of all averages of two values, and its level comes from the distribution of Wilcoxon's signed-rank statistic
alone (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, chapter 3): exactly while the outcomes are few
enough to be counted, by the normal approximation above. That one is safe: the statistic has lighter tails than the
normal distribution, so that from a confidence of 92 % on it asks for more than the exact count would. Loads numpy only.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from itertools import combinations_with_replacement
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.statistics.estimate import CONFIDENCE, FEWEST_SAMPLES, Estimate, Samples, check_confidence

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# Up to this many values all outcomes are counted. Their number, at most 2^60, is exact in an integer of 64 bits.
_COUNTED = 60
# Up to this many values plain numbers are faster than arrays.
FEW = 20
# Up to this many sums of pairs are simply written down; more are searched without being built.
_LISTED = 100_000


def signed_rank(differences: Samples, confidence: float = CONFIDENCE) -> Estimate:
    """The centre of the differences: the median of the averages of all pairs, each value with itself included.

    The interval is the one of Wilcoxon's signed-rank test. Its level holds for differences that are symmetric about
    their centre, as those of pairs measured in random order are about zero when nothing differs, whatever the machine
    does meanwhile. Ties only raise it. No interval below five differences or where all of them together are too few
    for the level (at 95 % below six). Raises UsageError without differences, and where one is not finite.
    """
    if len(differences) <= FEW:
        return _signed_rank_of_few(differences, confidence)
    halves = _ascending(differences) / 2
    averages = _PairSums(halves, halves, np.arange(len(halves)))
    return averages.estimate(_signed_rank_rank(len(halves), confidence))


def _signed_rank_of_few(differences: Samples, confidence: float) -> Estimate:
    """The same without any array, to the last bit: a report asks for thousands of ratios of six pairs each."""
    halves = [float(value) / 2 for value in differences]
    _check_finite(halves)
    averages = sorted(first + second for first, second in combinations_with_replacement(halves, 2))
    middle = (averages[(len(averages) - 1) // 2] + averages[len(averages) // 2]) / 2
    rank = _signed_rank_rank(len(halves), confidence)
    return Estimate(middle, averages[rank - 1], averages[-rank]) if rank else Estimate(middle)


def median_difference(x: Samples, y: Samples) -> float:
    """How far y lies above x, of two independent samples: the median of all differences between the two.

    Raises UsageError where either is empty or not finite.
    """
    above, below = _ascending(y), -_ascending(x)[::-1]
    return _PairSums(above, below, np.zeros(len(above), np.int64)).median()


def detectable(differences: Samples, confidence: float = CONFIDENCE, power: float = 0.8) -> float:
    """The smallest shift that so many differences, scattered as these are, show with the given probability.

    A shift is shown when the estimate lies further from zero than half of the interval's width, which is z(confidence)
    standard errors. To be that far out with the given probability the shift has to exceed it by z(power) standard
    errors more. Simulated, 80 % come out as 77 to 81 % with a hundred differences and as 70 to 82 % with fewer, least
    where they have heavy tails. Infinite where there is no interval, as nothing can be shown then.
    """
    if not 0.5 <= power < 1:
        raise UsageError(f"the power has to lie between 0.5 and 1, not at {power}: write 0.8 for 80 %")
    interval = signed_rank(differences, confidence).interval
    if interval is None:
        return math.inf
    return (interval[1] - interval[0]) / 2 * (1 + NormalDist().inv_cdf(power) / _normal_quantile(confidence))


class _PairSums:
    """All sums rows[i] + columns[j] with j >= first[i], both ascending, and their order statistics."""

    def __init__(self, rows: Floats, columns: Floats, first: Counts) -> None:
        self.rows, self.columns, self.first = rows, columns, first
        self.count = int(np.sum(len(columns) - first))

    def median(self) -> float:
        """The median of the sums."""
        lower, upper = self.smallest(self._middle)
        return (lower + upper) / 2

    def estimate(self, rank: int) -> Estimate:
        """The median of the sums, and as its interval the sums of this rank from below and from above, if any."""
        if rank == 0:
            return Estimate(self.median())
        low, lower, upper, high = self.smallest([rank, *self._middle, self.count + 1 - rank])
        return Estimate((lower + upper) / 2, low, high)

    @property
    def _middle(self) -> list[int]:
        return [(self.count + 1) // 2, self.count // 2 + 1]

    def smallest(self, ranks: list[int]) -> list[float]:
        """The sums of these ranks, from 1 and ascending."""
        ends = np.full(len(self.rows), len(self.columns))
        sums: list[float] = self._search(np.array(ranks), self.first, ends).tolist()
        return sums

    def _search(self, ranks: Counts, begin: Counts, end: Counts) -> Floats:
        """The sums of these ranks, known to lie from columns begin[i] up to but without end[i] of the rows i.

        Halves the range of values until few sums are left in it, or equal ones only. In every row the sums up to some
        value are the first ones, so that counting them is a search in `columns`.
        """
        if int(np.sum(end - begin)) <= _LISTED:
            places = ranks - 1 - int(np.sum(begin - self.first))
            return np.partition(self._between(begin, end), places)[places]
        low, high = self._least(begin, end), self._greatest(begin, end)
        middle = low + (high - low) / 2
        if not low <= middle < high:
            return np.full(len(ranks), low)
        cut = np.clip(np.searchsorted(self.columns, middle - self.rows, side="right"), begin, end)
        split = int(np.searchsorted(ranks, int(np.sum(cut - self.first)), side="right"))
        below = self._search(ranks[:split], begin, cut) if split else ranks[:0]
        above = self._search(ranks[split:], cut, end) if split < len(ranks) else ranks[:0]
        return np.concatenate([below, above])

    def _least(self, begin: Counts, end: Counts) -> float:
        some = begin < end
        return float(np.min(self.rows[some] + self.columns[begin[some]]))

    def _greatest(self, begin: Counts, end: Counts) -> float:
        some = begin < end
        return float(np.max(self.rows[some] + self.columns[end[some] - 1]))

    def _between(self, begin: Counts, end: Counts) -> Floats:
        """The sums of columns begin[i] up to but without end[i] of every row i."""
        widths = end - begin
        starts = np.cumsum(widths) - widths
        columns = np.arange(int(widths.sum())) + np.repeat(begin - starts, widths)
        sums: Floats = np.repeat(self.rows, widths) + self.columns[columns]
        return sums


@lru_cache(maxsize=4096)
def _signed_rank_rank(count: int, confidence: float) -> int:
    """The rank, from both ends, of the averages that bound the interval; 0 where there is none.

    It is the greatest one such that the statistic stays below it in at most half of what the confidence leaves.
    """
    check_confidence(confidence)
    if count < FEWEST_SAMPLES:
        return 0
    if count <= _COUNTED:
        ways_below = np.cumsum(_sums_of_ranks(count))
        allowed = math.floor((1 - Fraction(confidence)) / 2 * int(ways_below[-1]))
        return int(np.searchsorted(ways_below, allowed, side="right"))
    mean, variance = count * (count + 1) / 4, count * (count + 1) * (2 * count + 1) / 24
    # Each of the statistic's whole numbers takes half of the way to its neighbours.
    return max(0, math.floor(mean - _normal_quantile(confidence) * math.sqrt(variance) + 0.5))


@lru_cache(maxsize=256)
def _sums_of_ranks(count: int) -> Counts:
    """How many subsets of the ranks from 1 to the count have the sum 0, 1, 2 and so on."""
    ways = np.zeros(count * (count + 1) // 2 + 1, np.int64)
    ways[0] = 1
    for rank in range(1, count + 1):
        ways[rank:] += ways[:-rank]
    return ways


def _ascending(samples: Samples) -> Floats:
    values = np.sort(np.asarray(samples, dtype=np.float64))
    _check_finite(values[[0, -1]] if len(values) else values)
    return values


def _check_finite(values: Samples) -> None:
    if len(values) == 0:
        raise UsageError("there are no samples to rank: measure at least once")
    if not all(map(math.isfinite, values)):
        raise UsageError("ranks need finite samples: leave out what is not a number or infinite")


def _normal_quantile(confidence: float) -> float:
    """How many standard deviations to both sides of a normal distribution's mean hold this share of it."""
    return -NormalDist().inv_cdf((1 - confidence) / 2)

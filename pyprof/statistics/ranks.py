"""Rank tests and the intervals that belong to them: how far off zero differences are, how far two samples lie apart.

Both estimates are those of Hodges and Lehmann (Annals of Mathematical Statistics 34, 1963). The intervals end at order
statistics of all averages or differences of two values, and their levels come from the distribution of Wilcoxon's
statistics alone (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, chapters 3 and 4): exactly while the
outcomes are few enough to be counted, by the normal approximation above. That one is safe: both statistics have lighter
tails than the normal distribution, so that from a confidence of 92 % on it asks for more than the exact count would.
Loads numpy only.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from itertools import combinations_with_replacement
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.statistics.estimate import CONFIDENCE, FEWEST_SAMPLES, Estimate, Samples, check_confidence

Alternative = Literal["two-sided", "greater", "less"]
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
    _check(halves)
    averages = sorted(first + second for first, second in combinations_with_replacement(halves, 2))
    middle = (averages[(len(averages) - 1) // 2] + averages[len(averages) // 2]) / 2
    rank = _signed_rank_rank(len(halves), confidence)
    return Estimate(middle, averages[rank - 1], averages[-rank]) if rank else Estimate(middle)


def signed_rank_p(differences: Samples) -> float:
    """The two-sided p value of Wilcoxon's signed-rank test that the differences are symmetric about zero.

    Zeros are ranked with the others and then left out (Pratt, JASA 54, 1959). Leaving them out first, as Wilcoxon did,
    can turn a difference that is shown into one that is not by making every value larger. Ties share the mean of their
    ranks. Given the sizes, the signs are fair coins, so the p value stays exact with both.
    """
    values = _ascending(differences)
    ranks = _doubled_ranks(np.abs(values))
    weights, positive = ranks[values != 0], int(ranks[values > 0].sum())
    total = int(weights.sum())
    if len(weights) == 0:
        return 1.0
    if len(weights) <= _COUNTED:
        ways = np.cumsum(_sums_of_subsets(tuple(weights.tolist())))
        return min(1.0, 2 * int(ways[min(positive, total - positive)]) / int(ways[-1]))
    deviation = math.sqrt(float(np.sum(weights.astype(np.float64) ** 2))) / 2
    return min(1.0, 2 * _normal_tail((abs(positive - total / 2) - 1) / deviation))


def rank_sum(x: Samples, y: Samples, confidence: float = CONFIDENCE) -> Estimate:
    """How far y lies above x, of two independent samples: the median of all differences between the two.

    The interval is the one of the Mann-Whitney test; its level holds where y is distributed as x is, but for a shift,
    and ties only raise it. No interval below five samples of either, or where they are too few for the level. Raises
    UsageError where either is empty or not finite.
    """
    above, below = _ascending(y), -_ascending(x)[::-1]
    differences = _PairSums(above, below, np.zeros(len(above), np.int64))
    return differences.estimate(_rank_sum_rank(len(below), len(above), confidence))


def rank_sum_p(x: Samples, y: Samples, *, shift: float = 0.0, alternative: Alternative = "two-sided") -> float:
    """The p value of the Mann-Whitney test that y lies above x by `shift`, against more ("greater"), less, or either.

    Ties share the mean of their ranks. The p value is exact for sizes whose orders can be counted, and with ties up to
    60 values of both together; above it comes from the normal approximation with the variance of the ranks at hand.
    """
    less, greater = _tails(_ascending(x), _ascending(y) - shift)
    if alternative == "two-sided":
        return min(1.0, 2 * min(less, greater))
    if alternative not in ("less", "greater"):
        raise UsageError(f"the alternative has to be two-sided, greater or less, not {alternative!r}")
    return less if alternative == "less" else greater


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

    def estimate(self, rank: int) -> Estimate:
        """The median of the sums, and as its interval the sums of this rank from below and from above, if any."""
        middle = [(self.count + 1) // 2, self.count // 2 + 1]
        if rank == 0:
            low, high = self.smallest(middle)
            return Estimate((low + high) / 2)
        found = self.smallest([rank, *middle, self.count + 1 - rank])
        return Estimate((found[1] + found[2]) / 2, found[0], found[3])

    def smallest(self, ranks: list[int]) -> list[float]:
        """The sums of these ranks, from 1 and ascending."""
        found = self._search(np.array(ranks), self.first, np.full(len(self.rows), len(self.columns)))
        return [float(value) for value in found]

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
    """The rank, from both ends, of the averages that bound the interval; 0 where there is none."""
    check_confidence(confidence)
    if count < FEWEST_SAMPLES:
        return 0
    if count <= _COUNTED:
        return _counted_rank(_sums_of_subsets(tuple(range(1, count + 1))), confidence)
    mean, variance = count * (count + 1) / 4, count * (count + 1) * (2 * count + 1) / 24
    return _normal_rank(mean, variance, confidence)


@lru_cache(maxsize=4096)
def _rank_sum_rank(first: int, second: int, confidence: float) -> int:
    """The rank, from both ends, of the differences that bound the interval; 0 where there is none."""
    check_confidence(confidence)
    if min(first, second) < FEWEST_SAMPLES:
        return 0
    if _countable(first, second):
        return _counted_rank(_pairs_in_order(first, second), confidence)
    return _normal_rank(first * second / 2, first * second * (first + second + 1) / 12, confidence)


def _tails(x: Floats, y: Floats) -> tuple[float, float]:
    """How probable it is that the ranks of y add up to at most, and to at least, what they do."""
    ranks = _doubled_ranks(np.concatenate([x, y]))
    count, size = len(ranks), len(y)
    seen = int(ranks[len(x) :].sum())
    if len(np.unique(ranks)) == count and _countable(len(x), size):
        ways = _pairs_in_order(len(x), size)
        seen = (seen - size * (size + 1)) // 2
    elif count <= _COUNTED:
        ways = _sums_of_subsets_of(tuple(np.sort(ranks).tolist()), size)
    else:
        mean = float(ranks.mean())
        variance = size * (count - size) / count * float(np.sum((ranks - mean) ** 2)) / (count - 1)
        if variance == 0:
            return 1.0, 1.0
        above = (seen - size * mean) / math.sqrt(variance)
        step = 1 / math.sqrt(variance)
        return _normal_tail(-above - step), _normal_tail(above - step)
    total = int(ways.sum())
    return int(ways[: seen + 1].sum()) / total, int(ways[seen:].sum()) / total


def _counted_rank(ways: Counts, confidence: float) -> int:
    """The greatest rank such that fewer than `rank` come out in at most half of what the confidence leaves."""
    ways_below = np.cumsum(ways)
    allowed = math.floor((1 - Fraction(confidence)) / 2 * int(ways_below[-1]))
    return int(np.searchsorted(ways_below, allowed, side="right"))


def _normal_rank(mean: float, variance: float, confidence: float) -> int:
    """The same for a statistic of whole numbers that is all but normal, each of which takes half of its neighbours."""
    return max(0, math.floor(mean - _normal_quantile(confidence) * math.sqrt(variance) + 0.5))


@lru_cache(maxsize=256)
def _sums_of_subsets(weights: tuple[int, ...]) -> Counts:
    """How many subsets of the weights have the sum 0, 1, 2 and so on."""
    ways = np.zeros(sum(weights) + 1, np.int64)
    ways[0] = 1
    for weight in weights:
        ways[weight:] += ways[:-weight]
    return ways


@lru_cache(maxsize=4096)
def _countable(first: int, second: int) -> bool:
    """Whether the orders of two samples of these sizes can be counted in an integer of 64 bits."""
    return min(first, second) <= _COUNTED // 2 + 1 and math.comb(first + second, first) < 2**62


@lru_cache(maxsize=256)
def _pairs_in_order(first: int, second: int) -> Counts:
    """How many orders of two samples of these sizes have 0, 1, 2 and so on pairs in which the second is above.

    The coefficients of the Gaussian binomial, the product of (1 - q^(larger + i)) / (1 - q^i) over i up to the smaller.
    """
    larger, smaller = max(first, second), min(first, second)
    ways = np.zeros(first * second + 1, np.int64)
    ways[0] = 1
    for i in range(1, smaller + 1):
        ways[larger + i :] -= ways[: max(0, len(ways) - larger - i)].copy()
        # Dividing by 1 - q^i adds up every i-th coefficient.
        padded = np.concatenate([ways, np.zeros(-len(ways) % i, np.int64)])
        ways = np.cumsum(padded.reshape(-1, i), axis=0).reshape(-1)[: len(ways)]
    return ways


@lru_cache(maxsize=256)
def _sums_of_subsets_of(weights: tuple[int, ...], size: int) -> Counts:
    """How many subsets of so many weights have the sum 0, 1, 2 and so on."""
    ways = np.zeros((size + 1, sum(weights) + 1), np.int64)
    ways[0, 0] = 1
    for weight in weights:
        ways[1:, weight:] += ways[:-1, :-weight]
    whole: Counts = ways[size]
    return whole


def _doubled_ranks(values: Floats) -> Counts:
    """Twice the rank of each value, from 1; equal ones share the mean of their ranks, so that twice it is whole."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    doubled: Counts = (2 * np.cumsum(counts) - counts + 1)[place]
    return doubled


def _ascending(samples: Samples) -> Floats:
    values = np.sort(np.asarray(samples, dtype=np.float64))
    _check(values[[0, -1]] if len(values) else values)
    return values


def _check(values: Samples) -> None:
    if len(values) == 0:
        raise UsageError("there are no samples to rank: measure at least once")
    if not all(map(math.isfinite, values)):
        raise UsageError("ranks need finite samples: leave out what is not a number or infinite")


def _normal_quantile(confidence: float) -> float:
    """How many standard deviations to both sides of a normal distribution's mean hold this share of it."""
    return -NormalDist().inv_cdf((1 - confidence) / 2)


def _normal_tail(deviations: float) -> float:
    """The share of a normal distribution that lies further above its mean, precise far out too."""
    return math.erfc(deviations / math.sqrt(2)) / 2

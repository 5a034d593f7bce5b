"""Statistics of few, skewed, noisy samples: medians with intervals that assume no distribution. Loads numpy only.

A median's interval lies between two order statistics (Conover, Practical Nonparametric Statistics, section 3.2). Its
coverage comes from the binomial distribution alone and is at least the level that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError

Samples = Sequence[float] | npt.NDArray[np.generic]

CONFIDENCE = 0.95
# Fewer samples than these give no interval, whatever level is asked for.
FEWEST_SAMPLES = 5


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, in one unit; `low` and `high` are None where there are too few samples for one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def relative_half_width(self) -> float | None:
        """Half of the interval's width relative to the value; None without an interval or with a value of zero."""
        if self.low is None or self.high is None or self.value == 0:
            return None
        return (self.high - self.low) / 2 / abs(self.value)


def median(samples: Samples) -> float:
    """The median; raises UsageError without samples."""
    return quantile(samples, 0.5)


def quantile(samples: Samples, probability: float) -> float:
    """The quantile, interpolated linearly between neighbouring samples; raises UsageError without samples."""
    if len(samples) == 0:
        raise UsageError("there are no samples to take a quantile of: measure at least once")
    return float(np.quantile(np.asarray(samples, dtype=np.float64), probability))


def median_ranks(count: int, confidence: float = CONFIDENCE, dependence: float = 1.0) -> tuple[int, int] | None:
    """Ranks, from 1, of the two order statistics that enclose the median with at least the given confidence.

    The narrowest symmetric pair (r, n + 1 - r): it misses the median where fewer than r of n fair coins fall to one
    side, so its coverage is 1 - 2 P(Binomial(n, 1/2) < r), for a continuous distribution exactly and for one with ties
    at least. None where not even (1, n) reaches the level, which for 95 % is below six samples, and below five always.
    The sums are exact integers. Of samples that depend on each other fewer count (`pyprof.statistics.dependence` tells
    the factor): the ranks' distances from the middle grow by its square root, as far as there are samples.
    """
    check_confidence(confidence)
    if not dependence >= 1:
        raise UsageError(f"the dependence has to be a factor of at least 1, not {dependence}: leave it out for none")
    rank = _lower_rank(count, confidence)
    if rank == 0:
        return None
    middle = (count + 1) / 2
    rank = max(1, math.floor(middle - (middle - rank) * math.sqrt(dependence)))
    return rank, count + 1 - rank


@lru_cache(maxsize=4096)
def _lower_rank(count: int, confidence: float) -> int:
    """The lower one of the ranks for independent samples; 0 where there is none."""
    if count < FEWEST_SAMPLES:
        return 0
    # At most this many of the 2^n outcomes of the coins may lie in each tail.
    allowed = (1 - Fraction(confidence)) / 2 * 2**count
    rank, ways, tail = 0, 1, 1
    while tail <= allowed:
        rank += 1
        ways = ways * (count - rank + 1) // rank
        tail += ways
    return rank


def median_interval(
    samples: Samples, confidence: float = CONFIDENCE, dependence: float = 1.0
) -> tuple[float, float] | None:
    """The distribution-free interval of the median, (low, high); None where there are too few samples for the level."""
    ranks = median_ranks(len(samples), confidence, dependence)
    if ranks is None:
        return None
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    return float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1])


def estimate_median(samples: Samples, confidence: float = CONFIDENCE, dependence: float = 1.0) -> Estimate:
    """The median with its interval."""
    low, high = median_interval(samples, confidence, dependence) or (None, None)
    return Estimate(median(samples), low, high)


def check_confidence(confidence: float) -> None:
    """Raise UsageError where a confidence is no probability between 0 and 1."""
    if not 0 < confidence < 1:
        raise UsageError(f"the confidence has to lie between 0 and 1, not at {confidence}: write 0.95 for 95 %")

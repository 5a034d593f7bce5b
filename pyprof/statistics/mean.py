"""Means with their intervals, for figures that are means by definition: a loss per token, a share of right answers.

Costs are summed up by medians (`pyprof.statistics.estimate`); a mean's interval leans on the central limit theorem.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from pyprof.errors import UsageError
from pyprof.statistics.estimate import CONFIDENCE, FEWEST_SAMPLES, Estimate, Samples, check_confidence
from pyprof.statistics.student import student_quantile


def estimate_mean(samples: Samples, confidence: float = CONFIDENCE, dependence: float = 1.0) -> Estimate:
    """The mean with Student's interval, without one below five samples; raises UsageError without samples.

    Of samples that depend on each other fewer count: `dependence` is the factor, as `pyprof.statistics.dependence`
    tells it, by which the mean's variance exceeds that of independent ones.
    """
    check_confidence(confidence)
    values = np.asarray(samples, dtype=np.float64)
    if len(values) == 0:
        raise UsageError("there are no samples to take a mean of: measure at least once")
    mean = float(values.mean())
    if len(values) < FEWEST_SAMPLES:
        return Estimate(mean)
    count = max(len(values) / dependence, 2.0)
    half = student_quantile((1 + confidence) / 2, count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half)


def paired_shares(before: Samples, after: Samples, confidence: float = CONFIDENCE) -> Estimate:
    """How much larger the share of ones in `after` is than in `before`, of pairs of zeros and ones, with an interval.

    The interval of Bonett and Price (Statistics in Medicine 31, 2012): one pair of each kind that differs is added, so
    that it has a width also where no pair differs. Raises UsageError without pairs.
    """
    check_confidence(confidence)
    first, second = (np.asarray(each, dtype=np.float64) for each in (before, after))
    count = len(first)
    if count == 0:
        raise UsageError("there are no pairs to compare: measure at least once")
    gained, lost = float(np.sum(second > first)), float(np.sum(second < first))
    up, down = (gained + 1) / (count + 2), (lost + 1) / (count + 2)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt((up + down - (up - down) ** 2) / (count + 2))
    change = (gained - lost) / count
    return Estimate(change, max(min(up - down - half, change), -1.0), min(max(up - down + half, change), 1.0))

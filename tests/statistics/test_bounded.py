"""Intervals of means with bounds: they hold the mean, stay within, and cover better than those without bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.statistics.bounded import bounded_interval, interval_of_average
from pyprof.statistics.student import student_quantile


@pytest.mark.parametrize("mean", [0.02, 0.5, 0.887, 0.999])
@pytest.mark.parametrize("half", [1e-6, 0.03, 0.29, 5.0, 1e6])
def test_it_holds_the_mean_and_stays_within(mean: float, half: float) -> None:
    low, high = bounded_interval(mean, half, 0.0, 1.0)
    assert 0 <= low < mean < high <= 1
    low, high = bounded_interval(mean, half, least=0.0)
    assert 0 <= low < mean < high < math.inf
    low, high = bounded_interval(mean, half, most=1.0)
    assert -math.inf < low < mean < high <= 1


def test_it_is_that_of_the_log_odds() -> None:
    def odds(share: float) -> float:
        return math.log(share / (1 - share))

    low, high = bounded_interval(0.8, 0.1, 0.0, 1.0)
    # The odds' logarithm changes by 1 / (p (1 - p)) times the change of p.
    assert odds(low) == pytest.approx(odds(0.8) - 0.1 / 0.16)
    assert odds(high) == pytest.approx(odds(0.8) + 0.1 / 0.16)
    assert 0.8 - low > high - 0.8
    # Between other bounds it is the same, moved and stretched, and mirrored it is its mirror image.
    assert bounded_interval(26.0, 2.0, 10.0, 30.0) == pytest.approx((10 + 20 * low, 10 + 20 * high))
    assert bounded_interval(0.2, 0.1, 0.0, 1.0) == pytest.approx((1 - high, 1 - low))


def test_with_one_bound_it_is_that_of_the_logarithm() -> None:
    low, high = bounded_interval(4.0, 0.6, least=1.0)
    assert (low, high) == pytest.approx((1 + 3 * math.exp(-0.2), 1 + 3 * math.exp(0.2)))
    assert bounded_interval(-4.0, 0.6, most=-1.0) == pytest.approx((-high, -low))


def test_far_from_the_bounds_it_is_that_without() -> None:
    assert bounded_interval(0.5, 1e-4, 0.0, 1.0) == pytest.approx((0.4999, 0.5001), abs=1e-9)
    assert bounded_interval(7.0, 2.0) == (5.0, 9.0)
    assert bounded_interval(0.9, 0.0, 0.0, 1.0) == (0.9, 0.9)
    assert bounded_interval(1.0, 0.0, 0.0, 1.0) == (1.0, 1.0)
    with pytest.raises(UsageError, match="outside of its bounds"):
        bounded_interval(1.1, 0.1, 0.0, 1.0)


@pytest.mark.parametrize(("up", "down"), [(20, 1), (5, 1), (2, 1), (3, 3), (0.5, 0.5)])
def test_of_shares_over_five_seeds_it_covers_where_students_does_not(up: float, down: float) -> None:
    """Shares drawn from Beta(up, down): 93 of 100 intervals hold its mean, where Student's fall to 89 for (20, 1)."""
    draws = 4000
    samples = np.random.default_rng(0).beta(up, down, (draws, 5))
    means = samples.mean(axis=1)
    halves = student_quantile(0.975, 4) * samples.std(axis=1, ddof=1) / math.sqrt(5)
    true = up / (up + down)

    def covered(least: float | None, most: float | None) -> float:
        found = (bounded_interval(*map(float, each), least, most) for each in zip(means, halves, strict=True))
        return sum(low <= true <= high for low, high in found) / draws

    # Five standard errors of a share of 0.93 over so many draws are 0.02.
    assert covered(0.0, 1.0) > 0.93 - 0.02
    assert covered(0.0, 1.0) > covered(None, None)


def test_the_average_of_independent_values_keeps_their_bounds() -> None:
    assert interval_of_average([(0.5, 0.4, 0.7)]) == pytest.approx((0.4, 0.7))
    low, high = interval_of_average([(0.5, 0.4, 0.6), (0.7, 0.6, 0.8)])
    assert (low, high) == pytest.approx((0.6 - 0.1 / math.sqrt(2), 0.6 + 0.1 / math.sqrt(2)))
    low, high = interval_of_average([(0.9, 0.5, 0.99), (0.95, 0.2, 1.0), (0.03, 0.0, 0.2)])
    assert 0 <= low < high <= 1
    with pytest.raises(UsageError, match="no values"):
        interval_of_average([])

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pyprof.errors import UsageError
from pyprof.statistics.estimate import Estimate, median, median_interval, median_ranks, quantile


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95, 0.99])
def test_the_ranks_are_the_narrowest_that_the_binomial_distribution_allows(confidence: float) -> None:
    for count in [*range(1, 130), 999, 1000, 1001, 2500]:
        ranks = median_ranks(count, confidence)
        if ranks is None:
            assert count < 5 or 1 - 2 * stats.binom.cdf(0, count, 0.5) < confidence
            continue
        low, high = ranks
        assert low + high == count + 1
        assert 1 - 2 * stats.binom.cdf(low - 1, count, 0.5) >= confidence - 1e-12
        assert low == high or 1 - 2 * stats.binom.cdf(low, count, 0.5) < confidence
        assert low < high


@pytest.mark.parametrize(("confidence", "fewest"), [(0.5, 5), (0.9, 5), (0.9375, 5), (0.95, 6), (0.97, 7), (0.99, 8)])
def test_how_many_samples_an_interval_needs(confidence: float, fewest: int) -> None:
    assert median_interval([1.0] * (fewest - 1), confidence) is None
    assert median_interval(list(range(fewest)), confidence) is not None


def test_six_samples_give_their_range() -> None:
    assert median_interval([3, 1, 6, 2, 5, 4]) == (1, 6)


def test_the_ranks_agree_with_the_interval_that_scipy_gives() -> None:
    samples = np.random.default_rng(5).lognormal(size=73)
    oracle = stats.quantile_test(samples, q=0, p=0.5).confidence_interval(0.95)
    low, high = median_interval(samples) or (math.nan, math.nan)
    # SciPy's pair need not be symmetric, so that it may end one order statistic further out or in.
    ordered = np.sort(samples)
    assert abs(int(np.searchsorted(ordered, low)) - int(np.searchsorted(ordered, oracle.low))) <= 1
    assert abs(int(np.searchsorted(ordered, high)) - int(np.searchsorted(ordered, oracle.high))) <= 1


SHAPES = {
    "symmetric": (lambda rng, size: rng.normal(10, 1, size), 10.0),
    "skewed": (lambda rng, size: rng.exponential(1, size), math.log(2)),
    "heavy": (lambda rng, size: rng.standard_t(1.5, size) + 100, 100.0),
    "tied": (lambda rng, size: rng.integers(0, 5, size).astype(float), 2.0),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [6, 9, 30])
def test_the_interval_covers_the_median_of_any_distribution(shape: str, count: int) -> None:
    draw, truth = SHAPES[shape]
    ranks = median_ranks(count)
    assert ranks is not None
    ordered = np.sort(draw(np.random.default_rng(11), (20_000, count)), axis=1)
    covered = np.mean((ordered[:, ranks[0] - 1] <= truth) & (truth <= ordered[:, ranks[1] - 1]))
    exact = 1 - 2 * stats.binom.cdf(ranks[0] - 1, count, 0.5)
    if shape == "tied":
        assert covered >= exact - 0.005
    else:
        assert covered == pytest.approx(exact, abs=0.005)


def test_medians_and_quantiles_agree_with_numpys_definition() -> None:
    samples = [4, 1, 3, 2]
    assert median(samples) == 2.5
    assert quantile(samples, 0.25) == 1.75
    assert quantile(np.array([1, 2, 3]), 1.0) == 3


def test_nothing_comes_of_no_samples() -> None:
    with pytest.raises(UsageError, match="no samples"):
        median([])
    assert median_interval([]) is None


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95])
def test_a_confidence_is_no_percentage(confidence: float) -> None:
    with pytest.raises(UsageError, match=r"write 0\.95"):
        median_interval([1.0] * 10, confidence)


def test_the_half_width_of_an_estimate_is_relative_to_its_value() -> None:
    assert Estimate(2, 1.5, 3).relative_half_width == 0.375
    assert Estimate(2).relative_half_width is None
    assert Estimate(0, 0, 1).relative_half_width is None

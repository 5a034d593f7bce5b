"""Means and paired shares: against scipy, by their coverage, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pyprof.errors import UsageError
from pyprof.statistics.mean import estimate_mean, paired_shares


def test_the_interval_of_a_mean_is_student_s():
    values = np.random.default_rng(0).normal(3, 2, size=40)
    theirs = stats.t.interval(0.95, 39, loc=values.mean(), scale=stats.sem(values))
    ours = estimate_mean(values)
    assert ours.value == pytest.approx(values.mean())
    assert ours.interval == pytest.approx(theirs, rel=1e-9)


def test_equal_values_have_an_interval_without_width_and_few_have_none():
    assert estimate_mean([2.0] * 9).interval == (2.0, 2.0)
    assert estimate_mean([1.0, 2.0, 3.0, 4.0]).interval is None
    with pytest.raises(UsageError, match="no samples"):
        estimate_mean([])


def test_samples_that_depend_on_each_other_count_for_less():
    values = np.random.default_rng(1).normal(size=400)
    alone, together = estimate_mean(values), estimate_mean(values, dependence=4.0)
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(("first", "second", "correlation"), [(0.7, 0.7, 0.9), (0.9, 0.6, 0.3), (0.5, 0.52, 0.0)])
def test_the_interval_of_paired_shares_holds_the_true_difference_in_95_of_100_cases_or_more(first, second, correlation):
    random, inside, trials = np.random.default_rng(2), 0, 2000
    for _ in range(trials):
        drawn = random.random(60)
        again = np.where(random.random(60) < correlation, drawn, random.random(60))
        found = paired_shares(drawn < first, again < second)
        inside += found.low <= second - first <= found.high
    assert inside / trials >= 0.935


def test_the_interval_of_paired_shares_is_no_wider_than_it_must_be():
    """Of independent pairs it comes close to that of two means."""
    random = np.random.default_rng(3)
    before, after = random.random(400) < 0.6, random.random(400) < 0.4
    found, means = paired_shares(before, after), estimate_mean(after.astype(float) - before)
    assert found.high - found.low == pytest.approx(means.high - means.low, rel=0.02)
    assert found.value == pytest.approx(means.value)


def test_pairs_of_which_none_differs_still_have_a_width():
    found = paired_shares([1, 0, 1, 1], [1, 0, 1, 1])
    assert found.value == 0
    assert found.low < 0 < found.high
    assert paired_shares([0] * 50, [1] * 50).value == 1
    assert paired_shares([0] * 50, [1] * 50).high == 1

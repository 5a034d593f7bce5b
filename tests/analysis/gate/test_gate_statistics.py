from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from pyprof.analysis.gate.shift import (
    ASSUMED_SCATTER,
    FEWEST_NEIGHBOURS,
    SLOPE_DEVIATION,
    Shift,
    Timings,
    scatter_of,
    shift,
)

RANDOM = np.random.default_rng(11)


@pytest.mark.parametrize("counts", [(6, 6), (4, 9), (20, 13)])
def test_the_error_within_is_that_of_yuens_test(counts):
    x, y = (RANDOM.normal(0.1 * index, 1 + index, count) for index, count in enumerate(counts))
    found = shift(Timings(x), Timings(y))
    oracle = stats.ttest_ind(y, x, equal_var=False, trim=0.2)
    means = stats.trim_mean(y, 0.2) - stats.trim_mean(x, 0.2)
    assert found.within == pytest.approx(means / oracle.statistic)
    assert found.freedom == pytest.approx(oracle.df)
    assert found.value == pytest.approx(np.median(np.subtract.outer(y, x)))


def test_a_yardstick_of_both_runs_corrects_and_leaves_a_part_uncertain():
    times = np.log(np.array([10.0, 10.1, 10.2, 10.3, 10.4, 10.5]))
    slow = math.log(1.4)
    steady, slower = Timings(times, np.zeros(6)), Timings(times + slow, np.full(6, slow))
    found = shift(steady, slower)
    assert found.corrected
    assert found.value == pytest.approx(0)
    assert found.drift == pytest.approx(SLOPE_DEVIATION * slow)
    raw = shift(steady, Timings(slower.times))
    assert not raw.corrected
    assert raw.value == pytest.approx(slow)
    assert raw.drift == 0


def test_one_sample_gives_no_shift_and_two_do():
    assert shift(Timings(np.zeros(1)), Timings(np.zeros(6))) is None
    assert shift(Timings(np.zeros(2)), Timings(np.zeros(2))).error(0) == 0


def test_p_values_and_interval_belong_together():
    one = Shift(0.08, 0.02, 10)
    low, high = one.interval(0.01)
    assert one.exceeds(low, 0.01) == pytest.approx(0.025)
    assert one.falls_below(high, 0.01) == pytest.approx(0.025)
    assert one.error(0.01) == pytest.approx(math.hypot(0.02, 0.01))
    assert one.degrees(0.01) == pytest.approx(10 * 1.25**2)


def test_without_any_error_a_difference_is_certain():
    assert Shift(0.1, 0, math.inf).exceeds(0.05, 0) == 0
    assert Shift(0.1, 0, math.inf).exceeds(0.1, 0) == 1


def test_what_is_detectable_is_detected_in_four_of_five():
    true, least = Shift(0.0, 0.01, 1e9), Shift(0.0, 0.01, 1e9).detectable(0.0, 0.01)
    seen = [
        Shift(least + noise, true.within, true.freedom).exceeds(0, 0) < 0.01 for noise in RANDOM.normal(0, 0.01, 4000)
    ]
    assert 0.78 < np.mean(seen) < 0.82


def test_few_neighbours_leave_the_scatter_to_an_assumption():
    apart, alike = ((Shift(0.0, 0.01, 10), Shift(by, 0.01, 10)) for by in (0.5, 0.0))
    for corrected in (True, False):
        for pairs in ([apart] * 3, [apart] * 2 + [alike] * 2, [alike] * (FEWEST_NEIGHBOURS - 1)):
            found = scatter_of(pairs, corrected)
            assert (found.value, found.measured, found.pairs) == (ASSUMED_SCATTER[corrected], False, len(pairs))
        assert scatter_of([apart] * 4, corrected).value > 0.3  # all of few show more than what is assumed


@pytest.mark.parametrize("uniform", [0.0, 0.3])
def test_the_scatter_is_found_whatever_all_or_some_cases_have_in_common(uniform):
    def shifts(count):
        moved = uniform + RANDOM.normal(0, 0.04, count) + RANDOM.normal(0, 0.01, count)
        moved[: count // 2] += 0.4  # half of the cases regress, neighbours together
        return [Shift(value, 0.01, 10) for value in moved]

    found = [scatter_of(list(pairwise(shifts(60))), True).value for _ in range(200)]
    assert 0.04 < np.median(found) < 0.06
    assert np.mean(np.array(found) > 0.03) > 0.9


def test_no_scatter_is_found_where_samples_explain_everything():
    shifts = [Shift(value, 0.05, 10) for value in RANDOM.normal(0, 0.01, 40)]
    assert scatter_of(list(pairwise(shifts)), True).value == 0

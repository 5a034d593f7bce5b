from __future__ import annotations

import math

import pytest
from scipy import stats

from pyprof.statistics.student import student_quantile, student_tail


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 17, 38, 200, 999])
@pytest.mark.parametrize("value", [-30.0, -2.5, -0.1, 0.0, 0.3, 1.0, 4.1, 12.0])
def test_the_tail_of_student_is_that_of_scipy(degrees: int, value: float) -> None:
    assert student_tail(value, degrees) == pytest.approx(stats.t.sf(value, degrees), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("degrees", [1, 2, 5, 10, 38, 990])
@pytest.mark.parametrize("probability", [0.5, 0.8, 0.975, 0.999, 0.99995])
def test_the_quantile_of_student_is_that_of_scipy(degrees: int, probability: float) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(
        stats.t.ppf(probability, degrees), rel=1e-8, abs=1e-9
    )


def test_degrees_are_rounded_down_and_many_are_normal() -> None:
    assert student_tail(2.0, 6.9) == student_tail(2.0, 6)
    assert student_tail(2.0, math.inf) == pytest.approx(stats.norm.sf(2.0))
    assert student_tail(-2.0, math.inf) == pytest.approx(stats.norm.sf(-2.0))
    assert student_quantile(0.975, math.inf) == pytest.approx(1.959964, abs=1e-6)

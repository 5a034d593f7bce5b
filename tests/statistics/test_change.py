"""Changes of a level: found at their place, and not where a series comes back, has outliers or stays."""

from __future__ import annotations

import numpy as np
import pytest

from pyprof.statistics.change import change_point, step_at, trend


def test_a_step_is_found_at_its_place_with_its_size() -> None:
    change = change_point([20.0] * 7 + [2.0] * 17)
    assert change is not None
    assert (change.index, change.step) == (7, -18.0)
    assert step_at([1.0, 2.0, 3.0, 10.0], 3) == 8.0


@pytest.mark.parametrize("index", [5, 12, 250, 490])
def test_a_step_is_found_early_in_the_middle_and_late(index: int) -> None:
    generator = np.random.default_rng(4)
    values = generator.normal(0, 1, 500)
    values[index:] += 8
    change = change_point(values)
    assert change is not None
    assert abs(change.index - index) <= 1


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1.0] * 5,
        [1.0] * 50,
        [1.0, 90.0] + [1.0] * 6 + [80.0] + [1.0] * 20,  # compiled anew twice
        [5.0] * 29 + [50.0] + [5.0] * 40,  # an outlier
        [10.0] * 20 + [15.0] * 20 + [10.0] * 20,  # a level that comes back
        [10.0, 20.0] * 20,
        [9.0, 9.0, 1.0],
    ],
)
def test_no_change_of_level_is_seen_where_there_is_none(values: list[float]) -> None:
    assert change_point(values) is None


def test_noise_alone_is_rarely_a_change() -> None:
    generator = np.random.default_rng(1)
    seen = sum(
        change_point(generator.normal(0, 1, count)) is not None for count in (12, 30, 100, 500) for _ in range(250)
    )
    assert seen <= 20  # 2 %: the two sides of a split by chance overlap too much


def test_a_trend_is_one_that_noise_does_not_make() -> None:
    generator = np.random.default_rng(2)
    assert trend(np.arange(5.0)) == 1
    assert trend(-np.arange(300.0)) == -1
    assert trend([1.0] * 30) == 0
    assert trend([1.0, 2.0]) == 0
    assert sum(trend(generator.normal(0, 1, 100)) != 0 for _ in range(400)) <= 32  # one in twenty, but for chance

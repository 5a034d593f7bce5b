from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import linprog

from pyprof.statistics.dip import CRITICAL, dip, is_multimodal


def least_distance(values: np.ndarray, mode: int) -> float:
    """How near a distribution function with its mode at one of the values comes to that of the values: linear programs.

    The unknowns are the function at each value, its limit from the left at the mode, where it may jump, and the
    distance.
    """
    count = len(values)
    rows: list[np.ndarray] = []
    bounds: list[float] = []

    def require(bound: float, **terms: float) -> None:
        """That the sum of the terms, named v<index> and repeated where needed, is at most the bound."""
        row = np.zeros(count + 2)
        for name, factor in terms.items():
            row[int(name[1:])] += factor
        rows.append(row)
        bounds.append(bound)

    def left(i: int) -> int:
        return count if i == mode else i

    for i in range(count):
        require(-(i + 1) / count, **{f"v{i}": -1, f"v{count + 1}": -1})
        require(i / count, **{f"v{left(i)}": 1, f"v{count + 1}": -1})
    require(0, **{f"v{count}": 1, f"v{mode}": -1})
    for i in range(count - 1):
        require(0, **{f"v{i}": 1, f"v{left(i + 1)}": -1})
    for i in range(count - 2):
        first, second = 1 / (values[i + 1] - values[i]), 1 / (values[i + 2] - values[i + 1])
        if i + 2 <= mode:
            require(0, **{f"v{i}": -first, f"v{i + 1}": first + second, f"v{left(i + 2)}": -second})
        if i >= mode:
            require(0, **{f"v{i}": first, f"v{i + 1}": -first - second, f"v{i + 2}": second})
    goal = np.zeros(count + 2)
    goal[-1] = 1
    return float(linprog(goal, np.array(rows), np.array(bounds), bounds=[(None, None)] * (count + 2)).fun)


KINDS = {
    "uniform": lambda rng, count: rng.random(count),
    "normal": lambda rng, count: rng.normal(size=count),
    "heavy": lambda rng, count: rng.standard_cauchy(count),
    "two modes": lambda rng, count: rng.normal(size=count) + 6 * (rng.random(count) < 0.5),
    "three modes": lambda rng, count: rng.random(count) + 3 * rng.integers(0, 3, count),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [4, 7, 12, 20])
def test_the_dip_is_the_least_distance_from_a_distribution_with_one_mode(kind: str, count: int) -> None:
    values = np.sort(KINDS[kind](np.random.default_rng(count), count))
    assert dip(values) == pytest.approx(min(least_distance(values, mode) for mode in range(count)), abs=1e-9)


def test_known_dips() -> None:
    # Evenly spaced values are as near to a uniform distribution as steps can be.
    assert dip(np.arange(50.0)) == 1 / 100
    # Two far clusters are a quarter away from anything with one mode, but for the steps within a cluster.
    values = np.concatenate([np.arange(500.0), 1e9 + np.arange(500.0)])
    assert dip(values) == pytest.approx(0.25, abs=0.002)


def test_the_dip_does_not_care_for_scale_and_direction() -> None:
    values = np.sort(KINDS["two modes"](np.random.default_rng(2), 60))
    assert dip(values * 1e-3 + 5) == pytest.approx(dip(values))
    assert dip(-values[::-1]) == pytest.approx(dip(values))


def test_modes_are_shown_by_twenty_values_or_more_only() -> None:
    values = np.sort(np.concatenate([np.arange(50.0), 1000 + np.arange(50.0)]))
    assert is_multimodal(values)
    assert not is_multimodal(values, effective=19.0)
    assert not is_multimodal(values[41:59])


def uniform_dips(count: int, runs: int) -> np.ndarray:
    draws = np.sort(np.random.default_rng(count + 1).random((runs, count)), axis=1)
    return math.sqrt(count) * np.array([dip(draw) for draw in draws])


def test_uniform_values_exceed_the_critical_dip_in_one_of_a_hundred_cases() -> None:
    # Three standard errors of 1 % over two thousand runs are 0.7 %.
    assert np.mean(uniform_dips(50, 2000) > CRITICAL[50]) == pytest.approx(0.01, abs=0.007)


@pytest.mark.slow
@pytest.mark.parametrize("count", CRITICAL)
def test_the_table_is_what_simulation_gives(count: int) -> None:
    """The script behind the table, with 20,000 runs for small counts and 3,000 for the largest."""
    found = float(np.quantile(uniform_dips(count, max(3000, min(20_000, 6_000_000 // count))), 0.99))
    assert found == pytest.approx(CRITICAL[count], rel=0.025)

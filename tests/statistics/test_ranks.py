from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from pyprof.errors import UsageError
from pyprof.statistics import ranks
from pyprof.statistics.estimate import Estimate
from pyprof.statistics.ranks import detectable, median_difference, signed_rank


def averages_of_pairs(values: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(len(values))
    return np.sort((values[first] + values[second]) / 2)


def signed_rank_sums(weights: np.ndarray) -> np.ndarray:
    """The sums of the weights with a plus for every way to deal the signs."""
    signs = np.array(list(itertools.product([0, 1], repeat=len(weights))))
    return signs @ weights


@pytest.mark.parametrize("count", range(5, 13))
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99, 0.999])
def test_the_interval_misses_in_as_few_of_all_signs_as_its_level_says(count: int, confidence: float) -> None:
    values = np.random.default_rng(count).normal(1, 1, count)
    estimate = signed_rank(values, confidence)
    every = averages_of_pairs(values)
    assert estimate.value == np.median(every)
    sums = signed_rank_sums(np.arange(1, count + 1))
    missed = [2 * np.mean(sums < rank) for rank in range(1, len(every) // 2)]
    rank = sum(share <= 1 - confidence for share in missed)
    assert estimate.interval == ((every[rank - 1], every[-rank]) if rank else None)


@pytest.mark.parametrize(("confidence", "fewest"), [(0.9, 5), (0.95, 6), (0.99, 8), (0.999, 11), (0.9999, 15)])
def test_how_many_differences_an_interval_needs(confidence: float, fewest: int) -> None:
    values = list(range(fewest))
    assert signed_rank(values[:-1], confidence).interval is None
    assert signed_rank(values, confidence).interval == (0, fewest - 1)


@pytest.mark.parametrize("count", range(1, 7))
def test_few_differences(count: int) -> None:
    estimate = signed_rank(range(1, count + 1))
    assert estimate.value == (count + 1) / 2
    assert estimate.interval == ((1, 6) if count == 6 else None)


def test_nothing_to_rank() -> None:
    for call in (
        lambda: signed_rank([]),
        lambda: median_difference([], [1]),
        lambda: median_difference([1], []),
    ):
        with pytest.raises(UsageError, match="no samples"):
            call()
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(UsageError, match="finite"):
            signed_rank([1.0, bad, 2.0])


def test_equal_differences_are_known_exactly() -> None:
    assert signed_rank([3.0] * 6) == Estimate(3, 3, 3)
    assert signed_rank([3.0] * 5) == Estimate(3)
    assert signed_rank([0.1] * 5000) == Estimate(0.1, 0.1, 0.1)
    assert median_difference([2] * 6, [5] * 6) == 3


KINDS = {
    "normal": lambda rng, size: rng.normal(0.2, 1, size),
    "heavy": lambda rng, size: rng.standard_cauchy(size),
    "whole": lambda rng, size: rng.integers(0, 10**9, size).astype(float),
    "tied": lambda rng, size: rng.integers(-3, 4, size).astype(float),
    "far apart": lambda rng, size: np.exp(rng.normal(0, 20, size)),
    "nearly constant": lambda rng, size: np.where(rng.random(size) < 0.9, 0.1, rng.random(size)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [7, 60, 61, 150, 301])
def test_searching_finds_what_sorting_all_pairs_finds(kind: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(count)
    x, y = KINDS[kind](rng, count), KINDS[kind](rng, count // 2 + 4)
    listed = [signed_rank(x), signed_rank(x, 0.9999), median_difference(x, y)]
    every = averages_of_pairs(x)
    assert listed[0].value == np.median(every)
    assert listed[2] == np.median(np.subtract.outer(y, x))
    monkeypatch.setattr(ranks, "FEW", 0)
    monkeypatch.setattr(ranks, "_LISTED", 20)
    assert [signed_rank(x), signed_rank(x, 0.9999), median_difference(x, y)] == listed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", range(1, ranks.FEW + 1))
def test_few_values_give_the_same_to_the_last_bit_without_arrays(
    kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = KINDS[kind](np.random.default_rng(count), count)
    without = [signed_rank(values), signed_rank(values.tolist(), 0.9)]
    monkeypatch.setattr(ranks, "FEW", 0)
    assert [signed_rank(values), signed_rank(values, 0.9)] == without


@pytest.mark.parametrize("confidence", [0.92, 0.95, 0.99, 0.9999, 1 - 1e-7])
@pytest.mark.parametrize("count", [61, 80, 150, 300])
def test_the_normal_approximation_is_safe(count: int, confidence: float) -> None:
    chances = np.ones(1)
    for weight in range(1, count + 1):
        chances = (np.pad(chances, (0, weight)) + np.pad(chances, (weight, 0))) / 2
    rank = ranks._signed_rank_rank(count, confidence)
    missed = 2 * chances[:rank].sum()
    assert missed <= 1 - confidence
    # It isn't far off either: at 95 %, one rank less in a hundred.
    exact = int(np.searchsorted(np.cumsum(chances), (1 - confidence) / 2, side="right"))
    assert confidence > 0.95 or rank >= exact - max(1, exact // 100)


@pytest.mark.parametrize("count", [6, 17, 50])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_interval_holds_just_what_scipys_test_does_not_refuse(count: int, confidence: float) -> None:
    values = np.random.default_rng(count).normal(0.4, 1, count)
    interval = signed_rank(values, confidence).interval
    if interval is None:
        assert 2 / 2**count > 1 - confidence
        return
    low, high = interval
    for inside, outside in ((low + 1e-9, low - 1e-9), (high - 1e-9, high + 1e-9)):
        assert stats.wilcoxon(values - inside, method="exact").pvalue > 1 - confidence
        assert stats.wilcoxon(values - outside, method="exact").pvalue <= (1 - confidence) * (1 + 1e-9)


def drifting(rng: np.random.Generator, runs: int, count: int) -> np.ndarray:
    """Differences whose sizes swing with the machine's speed, while their signs come from a coin."""
    speed = np.exp(np.cumsum(rng.normal(0, 0.5, (runs, count)), axis=1))
    return speed * rng.exponential(size=(runs, count)) * rng.choice([-1, 1], (runs, count))


CENTRED = {
    "heavy": lambda rng, runs, count: rng.standard_t(1.2, (runs, count)),
    "drifting": drifting,
    "tied": lambda rng, runs, count: rng.integers(-2, 3, (runs, count)),
    "two modes": lambda rng, runs, count: rng.choice([-1, 1], (runs, count)) + 0.05 * rng.normal(size=(runs, count)),
}


@pytest.mark.parametrize("kind", CENTRED)
@pytest.mark.parametrize("count", [6, 25, 100])
def test_nothing_is_shown_where_nothing_differs(kind: str, count: int) -> None:
    runs = 500
    draws = CENTRED[kind](np.random.default_rng(count), runs, count)
    bounds = [signed_rank(draw).interval or (-math.inf, math.inf) for draw in draws]
    wrong = np.mean([low > 0 or high < 0 for low, high in bounds])
    # Three standard errors of 5 % over five hundred runs are 2.9 %.
    assert wrong <= 0.05 + 0.029


@pytest.mark.parametrize(("count", "at_least"), [(10, 0.68), (30, 0.74), (100, 0.74)])
@pytest.mark.parametrize("kind", ["normal", "heavy"])
def test_the_detectable_shift_is_shown_about_as_often_as_promised(kind: str, count: int, at_least: float) -> None:
    rng = np.random.default_rng(count)
    draw = {"normal": lambda: rng.normal(size=count), "heavy": lambda: rng.standard_t(3, size=count)}[kind]
    shift = np.median([detectable(draw()) for _ in range(100)])
    shown = np.mean([(signed_rank(draw() + shift).low or -1) > 0 for _ in range(400)])
    # Three standard errors of 80 % over four hundred runs are 6 %.
    assert at_least <= shown <= 0.90


def test_nothing_can_be_shown_without_an_interval() -> None:
    assert detectable([1, 2, 3, 4, 5]) == math.inf
    assert detectable([0.0] * 10) == 0
    values = np.random.default_rng(1).normal(size=50)
    assert detectable(values, power=0.5) < detectable(values) < detectable(values, power=0.95)
    assert detectable(values) < detectable(values, confidence=0.999)
    with pytest.raises(UsageError, match=r"write 0\.8"):
        detectable(values, power=80)


def test_twenty_thousand_differences_take_no_quadratic_time() -> None:
    values = np.random.default_rng(2).standard_cauchy(20_000)
    begin = time.process_time()
    signed_rank(values)
    # All 200 million averages would take seconds and 1.6 GB.
    assert time.process_time() - begin < 1.0

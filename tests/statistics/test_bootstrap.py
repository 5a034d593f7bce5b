from __future__ import annotations

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.statistics.bootstrap import ratio_of_sums


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    readings = np.random.default_rng(0).normal(10, 2, size=400)
    found = ratio_of_sums(readings, np.ones(400))
    half = 1.96 * readings.std() / 20
    assert found.estimate.value == pytest.approx(readings.mean())
    assert found.estimate.low == pytest.approx(readings.mean() - half, abs=0.1 * half)
    assert found.estimate.high == pytest.approx(readings.mean() + half, abs=0.1 * half)
    assert (found.drawn, found.count) == ("reading", 400)


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        words = generator.integers(5, 30, size=60)
        errors = generator.binomial(words, 0.1)
        found = ratio_of_sums(errors, words, resamples=500, seed=seed).estimate
        covered += found.low <= 0.1 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_readings_that_are_alike_within_clusters_have_a_wider_interval_by_clusters() -> None:
    generator = np.random.default_rng(2)
    clusters = np.repeat(np.arange(12), 20)
    errors = np.repeat(generator.normal(5, 1, size=12), 20) + 0.1 * generator.normal(size=240)
    single, whole = ratio_of_sums(errors, np.ones(240)), ratio_of_sums(errors, np.ones(240), [*map(str, clusters)])
    assert (whole.drawn, whole.count) == ("cluster", 12)
    widths = [each.estimate.high - each.estimate.low for each in (single, whole)]
    assert widths[1] > 3 * widths[0]
    few = ratio_of_sums(errors, np.ones(240), [*np.repeat(np.arange(4), 60)])
    assert (few.drawn, few.estimate) == ("reading", single.estimate)


def test_differences_as_numerators_are_paired() -> None:
    generator = np.random.default_rng(3)
    words = generator.integers(5, 30, size=80)
    first = generator.binomial(words, 0.3)
    second = first + (np.arange(80) % 4 == 0)
    found = ratio_of_sums(second - first, words).estimate
    assert found.value == pytest.approx(20 / words.sum())
    assert 0 < found.low < found.value < found.high < 0.03
    apart = ratio_of_sums(first, words).estimate
    assert found.high - found.low < 0.5 * (apart.high - apart.low)
    assert ratio_of_sums(first - second, words).estimate.value == -found.value


def test_without_errors_or_with_few_readings_there_is_no_interval() -> None:
    for errors, words in (([0] * 20, [7] * 20), ([1, 2, 0, 1], [4, 5, 6, 7]), ([2, 4, 2, 4, 2], [3, 6, 3, 6, 3])):
        found = ratio_of_sums(errors, words)
        assert found.estimate.value == sum(errors) / sum(words)
        assert (found.estimate.interval, found.drawn) == (None, None)


def test_the_seed_fixes_the_interval() -> None:
    readings = np.random.default_rng(4).normal(size=50) + 3
    assert ratio_of_sums(readings, np.ones(50), seed=1) == ratio_of_sums(readings, np.ones(50), seed=1)
    assert ratio_of_sums(readings, np.ones(50), seed=1) != ratio_of_sums(readings, np.ones(50), seed=2)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], [1]), {}, "2 numerators and 1 denominators"),
        (([], []), {}, "no readings"),
        (([1, 2], [0, 0]), {}, "denominators"),
        (([1, 2], [-1, 5]), {}, "denominators"),
        (([1, 2], [3, 5]), {"clusters": ["a"]}, "1 clusters for 2 readings"),
        (([1, 2], [3, 5]), {"confidence": 95}, "confidence"),
    ],
)
def test_what_has_no_ratio_is_refused(arguments, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        ratio_of_sums(*arguments, **options)

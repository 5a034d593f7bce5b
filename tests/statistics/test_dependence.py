from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import signal

from pyprof.errors import UsageError
from pyprof.statistics.dependence import FEWEST, dependence
from pyprof.statistics.estimate import estimate_median, median_interval, median_ranks


def independent(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.lognormal(0, 0.1, count)


def autoregressive(rng: np.random.Generator, count: int, memory: float) -> np.ndarray:
    return signal.lfilter([1], [1, -memory], rng.normal(size=count + 300))[300:]


def two_speeds(rng: np.random.Generator, count: int, stay: float, share: float = 0.4) -> np.ndarray:
    """Steps of 1.6 and 2.4 ms; the fast state has this share, and lasts as many steps on average."""
    lengths = rng.geometric(1 / (stay * np.array([1, (1 - share) / share])), (count, 2)).ravel()
    if rng.random() > share:
        lengths = lengths[1:]
        states = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)
    else:
        states = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.where(states[:count], 2.4, 1.6) * rng.lognormal(0, 0.02, count)


def covered(series: list[np.ndarray], truth: float) -> tuple[float, float, float]:
    """The share of series whose plain and whose widened interval covers the truth, and how much wider these are."""
    plain, wide, widths = [], [], []
    for samples in series:
        narrow = median_interval(samples)
        broad = median_interval(samples, dependence=dependence(samples))
        plain.append(narrow[0] <= truth <= narrow[1])
        wide.append(broad[0] <= truth <= broad[1])
        widths.append((broad[1] - broad[0]) / (narrow[1] - narrow[0]))
    return float(np.mean(plain)), float(np.mean(wide)), float(np.mean(widths))


@pytest.mark.parametrize(("count", "cost"), [(20, 1.20), (50, 1.10), (200, 1.05), (1000, 1.03)])
def test_independent_samples_keep_their_coverage_and_nearly_their_intervals(count: int, cost: float) -> None:
    rng = np.random.default_rng(count)
    plain, wide, widths = covered([independent(rng, count) for _ in range(1000)], 1.0)
    # Three standard errors of 95 % over a thousand runs are 2.1 %.
    assert plain >= 0.929
    assert wide >= plain
    assert 1 <= widths <= cost


@pytest.mark.parametrize(
    ("memory", "count", "plain_at_most", "at_least"),
    [(0.5, 50, 0.88, 0.93), (0.5, 1000, 0.86, 0.93), (0.9, 200, 0.5, 0.90), (0.9, 1000, 0.5, 0.92)],
)
def test_samples_with_a_memory_are_covered(memory: float, count: int, plain_at_most: float, at_least: float) -> None:
    rng = np.random.default_rng(7)
    plain, wide, _ = covered([autoregressive(rng, count, memory) for _ in range(500)], 0.0)
    assert plain < plain_at_most
    assert wide > at_least


@pytest.mark.parametrize(("stay", "plain_at_most", "at_least"), [(5, 0.8, 0.93), (20, 0.45, 0.87)])
def test_a_machine_of_two_speeds_is_covered(stay: float, plain_at_most: float, at_least: float) -> None:
    rng = np.random.default_rng(3)
    truth = float(np.median(two_speeds(rng, 2_000_000, 5)))
    plain, wide, _ = covered([two_speeds(rng, 1000, stay) for _ in range(500)], truth)
    assert plain < plain_at_most
    assert wide > at_least


@pytest.mark.parametrize("memory", [0.5, 0.9, 0.97])
def test_the_factor_is_the_integrated_autocorrelation_time_of_the_signs(memory: float) -> None:
    found = dependence(autoregressive(np.random.default_rng(1), 200_000, memory))
    # Signs of a normal process correlate by 2/pi arcsin(rho).
    exact = 1 + 2 * float(np.sum(2 / np.pi * np.arcsin(memory ** np.arange(1, 1000))))
    assert found == pytest.approx(exact, rel=0.1)


def test_what_has_no_memory_shown_counts_in_full() -> None:
    assert dependence([]) == 1
    assert dependence(range(FEWEST - 1)) == 1
    assert dependence([5.0] * 100) == 1
    assert dependence([1, 2] * 50) == 1
    assert dependence([1] * 99 + [2]) == 1


def test_one_change_of_speed_leaves_three_samples_worth_at_most() -> None:
    samples = [1.6] * 500 + [2.4] * 500
    assert dependence(samples) == pytest.approx(1000 / 3)
    assert median_interval(samples, dependence=dependence(samples)) == (1.6, 2.4)


def test_the_factor_does_not_care_for_units_or_a_few_slow_samples() -> None:
    samples = autoregressive(np.random.default_rng(2), 500, 0.8) + 10
    assert dependence(samples * 1e9) == pytest.approx(dependence(samples))
    slow = np.where(np.arange(500) % 97 == 5, 1e6, samples)
    assert dependence(slow) == pytest.approx(dependence(samples), rel=0.2)


def test_ranks_move_apart_by_the_root_of_the_dependence() -> None:
    low, high = median_ranks(1000)
    wide = median_ranks(1000, dependence=4.0)
    assert wide[1] - wide[0] == pytest.approx(2 * (high - low), abs=1)
    assert sum(wide) == 1001
    assert median_ranks(1000, dependence=1e6) == (1, 1000)
    assert median_ranks(1000, dependence=1.0) == (low, high)
    assert median_ranks(5, dependence=100.0) is None
    estimate = estimate_median(range(1000), dependence=4.0)
    assert estimate.interval == (wide[0] - 1, wide[1] - 1)
    with pytest.raises(UsageError, match="at least 1"):
        median_ranks(10, dependence=0.5)


def test_a_thousand_samples_take_about_a_millisecond() -> None:
    samples = np.random.default_rng(1).normal(size=1000)
    begin = time.process_time()
    for _ in range(20):
        dependence(samples)
    assert time.process_time() - begin < 20 * 0.005

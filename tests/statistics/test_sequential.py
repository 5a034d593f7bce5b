from __future__ import annotations

import math

import numpy as np
import pytest

from pyprof.statistics.estimate import CONFIDENCE, Estimate, estimate_median
from pyprof.statistics.ranks import signed_rank
from pyprof.statistics.sequential import LOOKED_AT, AlphaSpending, PrecisionLooks


def test_all_looks_together_spend_the_error_rate_in_proportion_to_time() -> None:
    spending = AlphaSpending(0.95, first=1 / 64)
    levels: dict[float, float] = {}
    for passed in np.linspace(0, 1, 10_000):
        if spending.is_due(passed):
            levels[passed] = 1 - spending.look(passed)
            assert sum(levels.values()) == pytest.approx(0.05 * passed)
            assert len(levels) == 1 or levels[passed] == pytest.approx(0.05 * passed / 3, rel=0.01)
    assert levels[min(levels)] == pytest.approx(0.05 / 64, rel=0.01)
    assert sum(levels.values()) + 1 - spending.look() == pytest.approx(0.05)
    assert spending.looks == len(levels) + 1 == 12


def test_no_look_is_due_before_its_time_or_from_the_end_on() -> None:
    spending = AlphaSpending(0.95, first=0.25)
    assert [passed for passed in (0.1, 0.25, 0.9, 1.0, 1.5) if spending.is_due(passed)] == [0.25, 0.9]
    spending.look(0.4)
    assert not spending.is_due(0.59)
    assert spending.is_due(0.61)


def test_looking_does_not_raise_the_rate_of_false_alarms() -> None:
    """Of a series without a difference all looks together err as rarely as one, and plain intervals more often."""

    def alarms(differences: np.ndarray, spending: AlphaSpending | None) -> bool:
        plan = AlphaSpending(0.95, first=1 / 16)
        for count in range(6, len(differences) + 1):
            passed = count / len(differences)
            if plan.is_due(passed) or passed == 1:
                plan.look(passed)
                confidence = CONFIDENCE if spending is None else spending.look(passed)
                low, high = signed_rank(differences[:count], confidence).interval or (-math.inf, math.inf)
                if not low <= 0 <= high:
                    return True
        return False

    rng = np.random.default_rng(1)
    runs = rng.normal(size=(400, 120))
    spent = np.mean([alarms(run, AlphaSpending(0.95, first=1 / 16)) for run in runs])
    plain = np.mean([alarms(run, None) for run in runs])
    # Three standard errors of 5 % over four hundred runs are 3.3 %.
    assert spent <= 0.05 + 0.033
    assert plain > 0.1


def test_looks_at_a_precision_are_spaced_out() -> None:
    looks = PrecisionLooks(0.01, fewest=6)
    seen = []
    for count in range(1, 41):
        if looks.is_due(count):
            seen.append(count)
            assert not looks.look(count, [Estimate(1.0, 0.9, 1.1)])
    assert seen == [6, 7, 8, 10, 12, 15, 18, 22, 27, 33]


@pytest.mark.parametrize(
    ("estimates", "enough"),
    [
        ([], True),
        ([Estimate(2.0, 1.99, 2.01)], True),
        ([Estimate(2.0, 1.97, 2.03)], False),
        ([Estimate(2.0, 1.99, 2.01), Estimate(1.0, 0.9, 1.1)], False),
        ([Estimate(2.0)], False),
        ([Estimate(0.0, 0.0, 0.0)], False),
    ],
)
def test_every_interval_has_to_be_narrow(estimates: list[Estimate], enough: bool) -> None:
    assert PrecisionLooks(0.01, fewest=6).look(6, estimates) is enough


def test_one_look_needs_no_higher_level() -> None:
    assert PrecisionLooks(0.01, fewest=12, most=12).confidence == CONFIDENCE
    assert PrecisionLooks(0.01, fewest=6, most=100).confidence == PrecisionLooks(0.01, fewest=6).confidence == LOOKED_AT


def test_medians_that_are_looked_at_keep_their_level() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    runs = 2000
    for _ in range(runs):
        looks, samples = PrecisionLooks(0.02, fewest=6, most=100), rng.lognormal(0, 0.05, 100)
        for count in filter(looks.is_due, range(6, 101)):
            estimate = estimate_median(samples[:count], looks.confidence)
            if looks.look(count, [estimate]):
                break
        assert estimate.low is not None
        assert estimate.high is not None
        hits += estimate.low <= 1 <= estimate.high
    # 1.5 % is three standard errors of a coverage of 95 % over so many runs.
    assert hits / runs >= 0.95 - 0.015

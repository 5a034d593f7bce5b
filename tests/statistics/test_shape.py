from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from scipy import signal, stats

from pyprof.errors import UsageError
from pyprof.statistics.dependence import dependence
from pyprof.statistics.shape import Mode, Shape, describe

Draw = Callable[[np.random.Generator, int], np.ndarray]


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    return 1e-3 * np.exp(0.05 * rng.normal(size=count))


def heavy(rng: np.random.Generator, count: int) -> np.ndarray:
    return 1e-3 * np.exp(0.01 * abs(rng.standard_t(1.5, count)))


def uniform(rng: np.random.Generator, count: int) -> np.ndarray:
    return 1e-3 * (1 + 0.1 * rng.random(count))


def quantised(rng: np.random.Generator, count: int) -> np.ndarray:
    """Some 15 steps of a coarse clock."""
    return 42e-9 * np.round(100 + 3 * rng.normal(size=count))


def remembering(rng: np.random.Generator, count: int) -> np.ndarray:
    return 1e-3 * np.exp(0.05 * signal.lfilter([1], [1, -0.9], rng.normal(size=count + 100))[100:])


def switching(rng: np.random.Generator, count: int, stay: float = 50) -> np.ndarray:
    """Two speeds in turn, each for a random while."""
    states = np.repeat(np.arange(count) % 2, rng.geometric(1 / stay, count))[:count]
    return np.where(states, 2.4e-3, 1.6e-3) * np.exp(0.02 * rng.normal(size=count))


@pytest.mark.parametrize("draw", [normal, heavy, uniform, quantised, remembering])
@pytest.mark.parametrize("count", [30, 200])
def test_nothing_is_said_of_a_series_with_nothing_to_say(draw: Draw, count: int) -> None:
    rng = np.random.default_rng(count)
    runs = 40
    shapes = [describe(draw(rng, count)) for _ in range(runs)]
    # Each at most once in a hundred: more than three in forty happen with a chance of 0.1 %.
    assert sum(len(shape.modes) > 1 for shape in shapes) <= 3
    assert sum(shape.drift is not None for shape in shapes) <= 3
    assert sum(str(shape) == "" for shape in shapes) >= runs - 6


def test_two_speeds_are_told_with_their_shares() -> None:
    rng = np.random.default_rng(1)
    samples = rng.permutation(np.repeat([1.62e-3, 2.38e-3], [400, 600])) * np.exp(0.02 * rng.normal(size=1000))
    shape = describe(samples)
    assert [mode.share for mode in shape.modes] == [0.4, 0.6]
    assert [mode.value for mode in shape.modes] == pytest.approx([1.62e-3, 2.38e-3], rel=0.005)
    assert str(shape) == "two speeds: 1.62 ms (40 %) and 2.38 ms (60 %)"


def test_three_speeds_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    samples = rng.permutation(np.repeat([1e-3, 1.5e-3, 3e-3], [150, 300, 150])) * np.exp(0.03 * rng.normal(size=600))
    shape = describe(samples)
    assert [round(mode.share, 2) for mode in shape.modes] == [0.25, 0.5, 0.25]
    assert str(shape) == "three speeds: 995 µs (25 %), 1.50 ms (50 %) and 3.01 ms (25 %)"


@pytest.mark.parametrize("stay", [5, 50, 200])
def test_a_machine_that_changes_its_speed_is_found_out_however_long_it_stays(stay: float) -> None:
    rng = np.random.default_rng(3)
    samples = switching(rng, 1500, stay)
    shape = describe(samples)
    assert len(shape.modes) == 2
    assert shape.dependence == dependence(np.log(samples)) > 2
    slow = float(np.mean(samples > 2e-3))
    assert shape.modes[1].share == pytest.approx(slow)


def test_few_slow_samples_are_no_mode() -> None:
    rng = np.random.default_rng(4)
    samples = normal(rng, 500)
    samples[rng.choice(500, 40, replace=False)] *= 3
    assert len(describe(samples).modes) == 1


def test_clusters_of_a_coarse_clock_are_modes_and_its_steps_are_not() -> None:
    rng = np.random.default_rng(5)
    clusters = 1e-9 * (rng.choice([1000, 1500], 300) + rng.integers(-3, 4, 300))
    assert [round(mode.value * 1e9) for mode in describe(clusters).modes] == pytest.approx([1000, 1500], abs=1)
    assert len(describe(1e-9 * rng.integers(10, 13, 300)).modes) == 1
    # A counter at 24 MHz read in whole nanoseconds gives neighbouring values in pairs.
    ticks = 41.67 * np.round(1000 + 4 * rng.normal(size=1000))
    assert len(describe(1e-9 * np.floor(ticks + rng.random(1000))).modes) == 1


def test_a_long_series_is_as_clear_as_a_short_one() -> None:
    shape = describe(switching(np.random.default_rng(6), 20_000, 500))
    assert len(shape.modes) == 2


@pytest.mark.parametrize("change", [0.06, -0.06])
@pytest.mark.parametrize("count", [100, 1000])
def test_a_drift_is_told_with_its_size(change: float, count: int) -> None:
    rng = np.random.default_rng(count)
    trend = np.exp(np.linspace(0, np.log1p(change), count))
    shape = describe(2e-3 * trend * np.exp(0.01 * rng.normal(size=count)))
    assert shape.drift == pytest.approx(change, rel=0.2)
    assert len(shape.modes) == 1
    assert str(shape).endswith(f" % {'slower' if change > 0 else 'faster'} from begin to end")


def test_a_drift_with_hardly_any_noise_is_exact() -> None:
    samples = np.exp(np.linspace(0, np.log(1.5), 150) + 1e-9 * np.random.default_rng(7).normal(size=150))
    shape = describe(samples)
    assert shape.drift == pytest.approx(0.5, abs=1e-6)
    assert str(shape) == "50 % slower from begin to end"


def test_the_trend_is_the_one_that_scipy_finds() -> None:
    rng = np.random.default_rng(8)
    samples = np.exp(np.linspace(0, 0.2, 120) + 0.05 * rng.normal(size=120))
    oracle = stats.theilslopes(np.log(samples), np.arange(120)).slope
    assert describe(samples).drift == pytest.approx(np.expm1(oracle * 119))


def test_one_change_of_speed_is_no_drift() -> None:
    rng = np.random.default_rng(9)
    samples = np.repeat([1e-3, 1.5e-3], 500) * np.exp(0.02 * rng.normal(size=1000))
    shape = describe(samples)
    assert shape.drift is None
    assert len(shape.modes) == 2


def test_few_or_equal_samples_have_no_shape() -> None:
    for samples in ([2.0], [1.0, 5.0] * 5, [3.0] * 100):
        shape = describe(samples)
        assert shape == Shape((Mode(float(np.median(samples)), 1.0),), None, 1.0)
        assert str(shape) == ""


@pytest.mark.parametrize("samples", [[], [1.0, 0.0], [1.0, -2.0], [1.0, np.nan], [np.inf]])
def test_samples_are_times_above_zero(samples: list[float]) -> None:
    with pytest.raises(UsageError, match="above zero"):
        describe(samples)


def test_a_shape_is_plain_json() -> None:
    shape = Shape((Mode(1e-3, 0.25), Mode(2e-3, 0.75)), -0.034, 12.5)
    assert json.loads(json.dumps(shape.to_json())) == {
        "modes": [{"value": 1e-3, "share": 0.25}, {"value": 2e-3, "share": 0.75}],
        "drift": -0.034,
        "dependence": 12.5,
    }
    assert str(shape) == "two speeds: 1.00 ms (25 %) and 2.00 ms (75 %); 3.4 % faster from begin to end"

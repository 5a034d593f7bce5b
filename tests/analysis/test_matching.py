from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from pyprof.analysis.matching import Dimension, Match, match, match_measured
from pyprof.errors import UsageError
from pyprof.statistics.estimate import Estimate


def parameters(given: Mapping[str, int]) -> float:
    """Those of an encoder's layers and its table of tokens."""
    width, inner, depth = given.get("width", 768), given.get("ffn", 3072), given.get("depth", 12)
    return 30_000 * width + depth * (4 * width * width + 2 * width * inner + 13 * width)


def flops(given: Mapping[str, int], length: int = 512) -> float:
    width, inner, depth = given.get("width", 768), given.get("ffn", 3072), given.get("depth", 12)
    return 2 * depth * length * (4 * width * width + 2 * width * inner + 2 * length * width)


FREE = {
    "ffn": (Dimension("ffn", 3072, 8),),
    "depth and ffn": (Dimension("depth", 12), Dimension("ffn", 3072, 8)),
    "width and ffn": (Dimension("width", 768, 64), Dimension("ffn", 3072, 8)),
    "width": (Dimension("width", 768, 2),),
}


@pytest.mark.parametrize("free", FREE)
@pytest.mark.parametrize("figure", [parameters, flops])
def test_what_is_matched_lies_within_one_percent(free, figure):
    rng = random.Random(free)
    start = {each.name: each.start for each in FREE[free]}
    for _ in range(20):
        target = figure(start) * rng.uniform(0.6, 2.5)
        found = match(figure, FREE[free], target)
        assert abs(found.off) <= 0.01
        assert found.figure == figure(found.dimensions)
        assert found.tried <= 20
        assert all(found.dimensions[each.name] % each.step == 0 for each in FREE[free])


def test_noise_of_a_measured_figure_is_borne():
    rng = random.Random(1)
    found = match(lambda given: flops(given) * rng.uniform(0.998, 1.002), FREE["ffn"], flops({"ffn": 5000}))
    assert abs(flops(found.dimensions) / flops({"ffn": 5000}) - 1) <= 0.012


def test_what_cannot_be_matched_says_how_near_it_comes():
    target = parameters({"depth": 12}) * 1.05
    with pytest.raises(UsageError, match=r"the nearest one \(depth 13\) is \+\d\.\d % off, so free a finer dimension"):
        match(parameters, (Dimension("depth", 12),), target)


def test_a_dimension_that_changes_nothing_is_refused():
    with pytest.raises(UsageError, match="no configuration is within 1%"):
        match(lambda given: 100.0, (Dimension("heads", 12),), 200.0)
    with pytest.raises(UsageError, match="without a free dimension"):
        match(parameters, (), 1.0)


def test_the_target_itself_is_found_at_once():
    found = match(parameters, FREE["ffn"], parameters({}))
    assert (found.dimensions, found.off, found.tried) == ({"ffn": 3072}, 0.0, 1)


class Machine:
    """Times of configurations with a noise that comes down where one takes more care, each asked for once at a time."""

    def __init__(self, seed: int, noise: float) -> None:
        self.rng, self.noise = random.Random(seed), noise
        self.measured = self.anew = 0

    def measure(self, given: Mapping[str, int]) -> float:
        self.measured += 1
        return flops(given) * self.rng.gauss(1, self.noise)

    def carefully(self, given: Mapping[str, int]) -> Estimate:
        self.anew += 1
        value, half = flops(given) * self.rng.gauss(1, self.noise / 4), 2 * self.noise / 4
        return Estimate(value, value * (1 - half), value * (1 + half))


def test_a_measured_match_is_judged_by_figures_that_it_was_not_chosen_by():
    free, off, covered, shown = FREE["depth and ffn"], [], 0, 0
    for seed in range(100):
        machine = Machine(seed, 0.012)
        target = flops({"depth": 12, "ffn": 3072}) * random.Random(seed).uniform(0.6, 2.5)
        found = match_measured(machine.measure, machine.carefully, free, target)
        truth = flops(found.dimensions)
        low, high = found.interval
        off.append(abs(truth / target - 1))
        covered += low <= truth <= high
        shown += found.shown()
        assert not found.shown() or off[-1] <= 0.012
        assert machine.anew <= 4
        assert machine.measured <= 40
    assert sorted(off)[90] <= 0.013
    assert covered >= 85
    assert shown >= 30
    # By a single noisy figure each, it is farther off.
    assert max(off) < max(
        abs(flops(match(Machine(seed, 0.012).measure, free, target).dimensions) / target - 1) for seed in range(100)
    )


def test_where_nothing_lies_near_the_nearest_is_told_and_not_shown_to_match():
    machine = Machine(3, 0.001)
    target = flops({"depth": 12}) * 1.04
    found = match_measured(machine.measure, machine.carefully, (Dimension("depth", 12),), target)
    assert found.dimensions == {"depth": 12}
    assert found.off == pytest.approx(1 / 1.04 - 1, abs=0.002)
    assert not found.shown()


def test_an_interval_that_reaches_beyond_the_tolerance_shows_nothing():
    assert Match({}, 100.2, 100.0, 1, (99.1, 100.9)).shown()
    assert not Match({}, 100.2, 100.0, 1, (98.9, 100.9)).shown()
    assert not Match({}, 100.2, 100.0, 1, (99.1, 101.1)).shown()
    assert not Match({}, 100.2, 100.0, 1).shown()

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache

import pytest

from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.refine import coarse, needs_refinement
from pyprof.analysis.tipping import Tipping, find_tipping
from pyprof.records.study import load

Ratio = Callable[[float], float]


class Bench:
    """A simulated measurement: a known ratio with noise that is the same whenever a length is measured."""

    def __init__(self, ratio: Ratio, spread: float, seed: int) -> None:
        self._ratio, self._spread, self._seed = ratio, spread, seed

    def measure(self, length: int) -> RatioPoint:
        noise = random.Random(f"{self._seed} {length}").gauss(0, self._spread / 1.96)
        log = math.log(self._ratio(length)) + noise
        return RatioPoint(length, math.exp(log), math.exp(log - self._spread), math.exp(log + self._spread))

    def full(self, grid: Sequence[int]) -> Tipping:
        return find_tipping([self.measure(length) for length in grid])

    def auto(self, grid: Sequence[int], tolerance: int = 0, period: int | None = None) -> tuple[Tipping, int]:
        """The tipping point by refinement, and how many lengths it took."""
        measured = {length: self.measure(length) for length in coarse(grid, period=period)}
        while True:
            points = [measured[length] for length in sorted(measured)]
            following = needs_refinement(points, grid, tolerance, period)
            if following is None:
                return find_tipping(points), len(points)
            assert following in grid
            assert following not in measured
            measured[following] = self.measure(following)


RATIOS: dict[str, Ratio] = {
    "text": lambda n: 1.45e-3 * n / (1.15e-3 * n + 1.7e-7 * n**2),
    "speech": lambda n: (0.02 + 2.2e-3 * n) / (0.01 + 1.7e-3 * n + 3.0e-7 * n**2),
    "vision": lambda n: (0.02 + 4.6e-6 * n**2) / (0.005 + 3.9e-6 * n**2 + 2.3e-12 * n**4),
}
# Of the study of 2023, as tests/test_house.py compares them with what was published.
GRIDS = {
    modality: list(block.lengths.values)
    for modality, block in zip(("text", "speech", "vision"), load("diwan2023").blocks, strict=True)
}
STEPS = {"text": 60, "speech": 25, "vision": 32}
SEEDS = range(30)


@cache
def _campaign(spread: float) -> dict[str, list[tuple[Tipping, Tipping, int]]]:
    """On each published grid, for every seed: the full tipping point, the refined one and how many lengths it took."""
    found: dict[str, list[tuple[Tipping, Tipping, int]]] = {}
    for modality, ratio in RATIOS.items():
        grid = GRIDS[modality]
        benches = [Bench(ratio, spread, seed) for seed in SEEDS]
        found[modality] = [(bench.full(grid), *bench.auto(grid)) for bench in benches]
    return found


@pytest.mark.parametrize("spread", [0.0, 0.005, 0.02, 0.05])
def test_refinement_takes_at_most_a_fifth_of_the_published_grids(spread: float) -> None:
    campaign = _campaign(spread)
    full = sum(len(GRIDS[modality]) for modality in campaign) * len(SEEDS)
    taken = {modality: sum(count for _, _, count in runs) for modality, runs in campaign.items()}
    assert sum(taken.values()) <= full / 5
    for modality in ("text", "speech"):
        assert taken[modality] / len(SEEDS) <= len(GRIDS[modality]) / 5


@pytest.mark.parametrize("spread", [0.0, 0.005, 0.02, 0.05])
def test_refinement_finds_the_tipping_points_of_the_full_grid(spread: float) -> None:
    for modality, runs in _campaign(spread).items():
        agreeing = 0
        for full, auto, _ in runs:
            assert full.status == auto.status == "point"
            assert full.crossing is not None
            assert auto.crossing is not None
            step = STEPS[modality]
            low, high = full.crossing.low or 0, full.crossing.high or math.inf
            agreeing += low - step <= auto.crossing.length <= high + step
        assert agreeing >= 0.95 * len(runs)


def test_without_noise_refinement_gives_exactly_the_crossing_of_the_full_grid() -> None:
    for runs in _campaign(0.0).values():
        assert all(full == auto for full, auto, _ in runs)


def _padded(period: int) -> Ratio:
    """Longformer's kind of cost: it pays for whole multiples of its window."""
    return lambda n: 1.43e-3 * math.ceil(n / period) * period / (1.2e-3 * n + 1.7e-7 * n**2)


def test_a_padding_variant_tips_where_the_full_grid_says() -> None:
    grid = GRIDS["text"]
    for seed in SEEDS:
        bench = Bench(_padded(512), 0.005, seed)
        full, (auto, count) = bench.full(grid), bench.auto(grid, period=512)
        assert (full.status, auto.status) == ("several", "several")
        assert full.crossing is not None
        assert auto.crossing is not None
        assert auto.crossing.length == pytest.approx(full.crossing.length, abs=60)
        assert count <= len(grid) / 5


def test_ignoring_the_padding_would_find_another_point() -> None:
    grid = GRIDS["text"]
    bench = Bench(_padded(512), 0.0, 0)
    full, (auto, _) = bench.full(grid), bench.auto(grid)
    assert full.crossing is not None
    assert auto.crossing is None or abs(auto.crossing.length - full.crossing.length) > 60


def test_a_tolerance_saves_measurements() -> None:
    grid = GRIDS["speech"]
    bench = Bench(RATIOS["speech"], 0.0, 0)
    (_, fine), (rough, few) = bench.auto(grid), bench.auto(grid, tolerance=1200)
    assert few < fine
    assert rough.crossing is not None
    assert rough.crossing.high is not None
    assert rough.crossing.low is not None
    assert rough.crossing.high - rough.crossing.low <= 1200


@pytest.mark.parametrize("ratio", [lambda n: 0.5, lambda n: 2.0])
def test_where_nothing_crosses_the_coarse_grid_is_enough(ratio: Ratio) -> None:
    assert Bench(ratio, 0.01, 0).auto(range(62, 3363, 60))[1] == 4


def test_open_crossings_are_refined_until_done() -> None:
    for top in (1.005, 0.995):
        bench = Bench(lambda n, top=top: top * (3362 / n) ** 0.4, 0.02, 1)  # type: ignore[misc]
        _, count = bench.auto(range(62, 3363, 60))
        assert count <= 15


def test_coarse_lengths_are_of_the_grid_with_both_ends_and_evenly_spaced_by_ratio() -> None:
    grid = range(62, 3363, 60)
    assert coarse(grid) == (62, 242, 902, 3362)
    assert coarse([5, 3, 4]) == (3, 4, 5)
    assert coarse([7]) == (7,)


def test_coarse_lengths_of_a_padding_variant_are_where_padding_costs_most() -> None:
    assert set(coarse(range(62, 3363, 60), period=512)[1:-1]) <= {542, 1082, 1562, 2102, 2582, 3122}


def test_nothing_measured_asks_for_nothing() -> None:
    assert needs_refinement([], [1, 2, 3]) is None
    assert needs_refinement([], [1, 2, 3], period=2) in (None, 1, 2, 3)

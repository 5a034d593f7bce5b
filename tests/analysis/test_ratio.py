from __future__ import annotations

import math
import random

import pytest

from pyprof.analysis.ratio import RatioPoint, costs, ratio_point, ratio_points
from pyprof.cost.indicators import INDICATORS, Reading
from pyprof.study.case import Case
from pyprof.study.record import Record

LATENCY, THROUGHPUT, MEMORY = INDICATORS["latency"], INDICATORS["throughput"], INDICATORS["peak_memory"]


def test_distances_to_the_bounds_add_in_squares_between_logarithms() -> None:
    variant = Reading(2.0, 2.0 / math.exp(0.03), 2.0 * math.exp(0.06))
    vanilla = Reading(4.0, 4.0 / math.exp(0.08), 4.0 * math.exp(0.04))
    point = ratio_point(512, variant, vanilla, LATENCY)
    assert point is not None
    assert point.ratio == pytest.approx(0.5)
    assert point.low == pytest.approx(0.5 * math.exp(-0.05))
    assert point.high == pytest.approx(0.5 * math.exp(0.10))


def test_the_inverse_of_a_throughput_is_its_cost() -> None:
    point = ratio_point(512, Reading(20.0, 19.0, 22.0), Reading(10.0, 10.0, 10.0), THROUGHPUT)
    assert point is not None
    assert (point.ratio, point.low, point.high) == pytest.approx((10 / 20, 10 / 22, 10 / 19))


def test_a_time_without_interval_gives_a_ratio_without_interval() -> None:
    assert ratio_point(64, Reading(1.0), Reading(2.0, 1.9, 2.1), LATENCY) == RatioPoint(64, 0.5, None, None)
    assert ratio_point(64, Reading(1.0, 0.9, None), Reading(2.0, 1.9, 2.1), LATENCY) == RatioPoint(64, 0.5, None, None)


def test_counted_bytes_are_exact() -> None:
    assert ratio_point(64, Reading(3.0), Reading(2.0), MEMORY) == RatioPoint(64, *(pytest.approx(1.5),) * 3)


@pytest.mark.parametrize("value", [None, 0.0, -1.0])
def test_what_has_no_positive_value_has_no_ratio(value: float | None) -> None:
    assert ratio_point(64, Reading(value), Reading(2.0), LATENCY) is None
    assert ratio_point(64, Reading(2.0), Reading(value), LATENCY) is None


def test_ratios_stand_where_both_were_measured() -> None:
    def curve(values: dict[int, float]) -> dict[int, Record]:
        return {
            length: Record(Case("m", length), "ok", "e", "now", 0.0, indicators={"peak_memory": Reading(value)})
            for length, value in values.items()
        }

    ours = costs(curve({300: 3.0, 100: 1.0, 200: 1.0}), MEMORY)
    theirs = costs(curve({100: 2.0, 300: 2.0, 400: 2.0, 200: 0.0}), MEMORY)
    points = ratio_points(ours, theirs)
    assert [(point.length, point.ratio) for point in points] == [(100, 0.5), (300, pytest.approx(1.5))]
    assert costs(curve({100: 1.0}), LATENCY) == {}


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    state = random.Random(3)
    hits = 0
    for _ in range(2000):
        ours, theirs = state.gauss(0.0, 0.02), state.gauss(0.0, 0.05)
        readings = [
            Reading(math.exp(value), math.exp(value - 1.96 * sigma), math.exp(value + 1.96 * sigma))
            for value, sigma in ((ours, 0.02), (theirs, 0.05))
        ]
        point = ratio_point(1, *readings, LATENCY)
        assert point is not None
        assert point.low is not None
        assert point.high is not None
        hits += point.low <= 1 <= point.high
    assert 0.935 < hits / 2000 < 0.965

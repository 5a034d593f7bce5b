from __future__ import annotations

import json
import math
import random
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pyprof.analysis.ratio import RatioPoint, costs, ratio_point, ratio_points
from pyprof.indicators.registry import find
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.statistics.estimate import estimate_median
from pyprof.statistics.ranks import signed_rank

LATENCY, THROUGHPUT, MEMORY = find("latency"), find("throughput"), find("peak_memory")


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


def test_a_ratio_turned_over_turns_its_interval_over() -> None:
    first, second = Reading(3, 2.9, 3.3), Reading(7, 6.5, 7.1)
    forward, backward = ratio_point(1, first, second, LATENCY), ratio_point(1, second, first, LATENCY)
    assert forward is not None
    assert backward is not None
    assert forward.low is not None
    assert forward.high is not None
    assert (backward.low, backward.high) == pytest.approx((1 / forward.high, 1 / forward.low))


def test_a_ratio_with_an_exact_side_keeps_the_others_relative_interval() -> None:
    point = ratio_point(1, Reading(6, 5, 9), Reading(3, 3, 3), LATENCY)
    assert point is not None
    assert (point.ratio, point.low, point.high) == pytest.approx((2, 5 / 3, 3))


@pytest.mark.parametrize("counts", [(6, 6), (6, 30), (12, 12), (51, 51)])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, size: np.exp(0.05 * rng.standard_normal(size)),
        lambda rng, size: 1 + 0.1 * rng.exponential(size=size),
        lambda rng, size: np.where(rng.random(size) < 0.7, 1.0, 1.3) * np.exp(0.01 * rng.standard_normal(size)),
    ],
    ids=["symmetric", "skewed", "two modes"],
)
def test_the_interval_of_a_ratio_of_medians_covers_it(draw: Any, counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    runs = 1000
    covered = 0
    for first, second in zip(draw(rng, (runs, counts[0])), draw(rng, (runs, counts[1])) * 2, strict=True):
        readings = [Reading(one.value, one.low, one.high) for one in map(estimate_median, (second, first))]
        point = ratio_point(1, *readings, LATENCY)
        assert point is not None
        assert point.low is not None
        assert point.high is not None
        covered += point.low <= 2 <= point.high
    # 1.4 % is two standard errors of a coverage of 95 % over a thousand runs.
    assert covered / runs >= 0.95 - 0.014


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


def timed(samples: list[int], rounds: str | None = "together") -> Reading:
    """A latency as a study records it."""
    found = estimate_median([sample * 1e-9 for sample in samples])
    shared = None if rounds is None else Rounds(rounds)
    return Reading(found.value, found.low, found.high, tuple(samples), rounds=shared)


MOODS = [1.0, 1.5, 1.02, 1.48, 0.98, 1.55, 1.0, 1.5, 1.01]


@pytest.mark.parametrize("count", [5, 6, 7, 9, 20, 21, 60])
def test_samples_of_the_same_rounds_are_paired(count: int) -> None:
    """The machine's speed, the same for both, leaves the ratio and its interval alone."""
    moods = [MOODS[index % len(MOODS)] for index in range(count)]
    ours = [round(8e6 * mood * (1 + 0.009 * index / count)) for index, mood in enumerate(moods)]
    theirs = [round(1e7 * mood) for mood in moods]
    point = ratio_point(512, timed(ours), timed(theirs), LATENCY)
    assert point is not None
    expected = signed_rank(np.log(np.array(ours) / np.array(theirs)))
    assert point.paired
    assert point.ratio == pytest.approx(math.exp(expected.value), rel=1e-12)
    assert point.ratio == pytest.approx(0.8, rel=0.01)
    assert (point.low is None) == (point.high is None) == (count < 6)
    if point.low is not None and point.high is not None:
        assert expected.low is not None
        assert expected.high is not None
        assert (point.low, point.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)), rel=1e-12)
        assert 0.799 < point.low < point.high < 0.808
    apart = ratio_point(512, timed(ours, "one"), timed(theirs, "other"), LATENCY)
    assert apart is not None
    assert not apart.paired
    assert apart.high is None or apart.high > 1


def test_six_pairs_bound_the_ratio_by_the_least_and_the_greatest() -> None:
    point = ratio_point(1, timed([10, 21, 32, 43, 54, 65]), timed([10, 20, 30, 40, 50, 60]), LATENCY)
    assert point is not None
    assert (point.low, point.high) == pytest.approx((1.0, 65 / 60))


def test_waiting_for_other_processes_is_no_part_of_a_ratio() -> None:
    ran, waits = [8_000, 8_010, 8_020, 8_030, 8_040, 8_050], [0, 3_000, 0, 50_000, 0, 0]
    theirs = timed([10_000] * 6)
    ours = timed([one + wait for one, wait in zip(ran, waits, strict=True)])
    disturbed = ratio_point(1, ours, theirs, LATENCY)
    point = ratio_point(1, replace(ours, rounds=replace(ours.rounds, waits=tuple(waits))), theirs, LATENCY)
    assert point == ratio_point(1, timed(ran), theirs, LATENCY)
    assert disturbed is not None
    assert disturbed.high is not None
    assert disturbed.high > 1


def test_rounds_that_were_looked_at_on_the_way_have_the_interval_of_the_looks() -> None:
    ours, theirs = [9_000 + 7 * index**2 for index in range(12)], [10_000] * 12
    looked = [replace(one, rounds=replace(one.rounds, confidence=0.99)) for one in map(timed, (ours, theirs))]
    point, plain = ratio_point(1, looked[0], looked[1], LATENCY), ratio_point(1, timed(ours), timed(theirs), LATENCY)
    expected = signed_rank([math.log(one / 10_000) for one in ours], 0.99)
    assert point is not None
    assert plain is not None
    assert point.ratio == plain.ratio
    assert point.low is not None
    assert plain.low is not None
    assert expected.low is not None
    assert point.low == math.exp(expected.low) < plain.low


def test_old_records_without_rounds_and_broken_pairs_are_not_paired() -> None:
    one, other = [10_000] * 6, [20_000] * 6
    for first, second in [
        (timed(one, None), timed(other, None)),
        (timed(one, None), timed(other)),
        (timed(one), timed(other[:5])),
    ]:
        point = ratio_point(1, first, second, LATENCY)
        assert point is not None
        assert not point.paired
        assert point.ratio == pytest.approx(0.5)


def test_an_old_record_reads_as_before() -> None:
    old = Record(Case("m", 8), "ok", "e", "now", 1.0, indicators={"latency": replace(timed([5] * 6, None))})
    line = old.to_json()
    assert line["indicators"]["latency"]["rounds"] is None
    assert Record.from_json(json.loads(json.dumps(line))) == old
    del line["indicators"]["latency"]["rounds"]
    assert Record.from_json(json.loads(json.dumps({**line, "schema": 1}))) == old


def test_three_thousand_paired_ratios_take_a_third_of_a_second_at_most() -> None:
    state = random.Random(1)

    def curve(rounds: int) -> dict[int, Record]:
        found = {}
        for length in range(1, rounds + 1):
            samples = tuple(state.randrange(10**6, 2 * 10**6) for _ in range(6))
            reading = Reading(1.0, 0.9, 1.1, samples, rounds=Rounds(str(length)))
            found[length] = Record(Case("m", length), "ok", "e", "now", 0.0, indicators={"latency": reading})
        return found

    ours, theirs = curve(3_000), curve(3_000)
    least = math.inf
    for _ in range(3):
        begin = time.process_time()
        points = ratio_points(costs(ours, LATENCY), costs(theirs, LATENCY))
        least = min(least, time.process_time() - begin)
    assert len(points) == 3_000
    assert all(point.paired for point in points)
    assert least < 0.3

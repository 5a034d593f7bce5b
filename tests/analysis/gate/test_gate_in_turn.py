"""Two runs that took turns: rounds that came one after the other are pairs, whatever the machine did."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from flipping_runs import CURVES, STEP_SECONDS, run, runs_in_turn

from pyprof.analysis.gate.compare import Gate, compare_records
from pyprof.analysis.gate.shift import Timings, neighbours_in_time, shift
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.records.record import Record

Run = dict[str, Record]


def compared(before: Run, after: Run, margin: float = 0.03) -> Gate:
    return compare_records(before, after, margin, [LATENCY.facts])


def steps(random: np.random.Generator) -> np.ndarray:
    # Steps that follow the machine's speed in ways of their own, which no yardstick corrects.
    return random.uniform(0.5, 1.5, (CURVES, len(STEP_SECONDS)))


def test_equal_runs_fail_in_fewer_than_one_of_twenty() -> None:
    random = np.random.default_rng(1)
    gates = [compared(*runs_in_turn(random, steps(random)), margin=0.0) for _ in range(40)]
    assert np.mean([bool(gate.having("regression")) for gate in gates]) <= 0.05
    assert all(timed.in_turn for gate in gates for timed in gate.timed)


def test_one_slower_case_is_found_where_a_yardstick_leaves_it_open() -> None:
    """Of fifty cases, on a machine that flips between two speeds, which each step follows in a way of its own."""

    def slower(model: str, length: int) -> float:
        return 1.1 if (model, length) == ("m3", 384) else 1.0

    def found(gate: Gate) -> bool:
        return any((each.case.model, each.case.length) == ("m3", 384) for each in gate.having("regression"))

    random = np.random.default_rng(2)
    in_turn, apart = [], []
    for _ in range(20):
        slopes = steps(random)
        in_turn.append(found(compared(*runs_in_turn(random, slopes, slower, rounds=12))))
        apart.append(found(compared(run(random, slopes, rounds=12), run(random, slopes, slower, rounds=12))))
    assert np.mean(in_turn) >= 0.9
    assert np.mean(apart) <= 0.5


def test_a_machine_in_another_state_for_a_whole_run_is_met_by_both() -> None:
    """The second half of the rounds takes half as long again, in both runs: no part of the error, and none of drift."""
    level = np.log(np.r_[np.full(20, 0.010), np.full(20, 0.015)])
    ended = np.arange(40) * 2.0
    before = Timings(level, yardstick=level * 0 - 5, ended=ended)
    after = Timings(level + math.log(1.1), yardstick=level * 0 - 4, ended=ended + 1)
    moved = shift(before, after)
    assert moved is not None
    assert moved.value == pytest.approx(math.log(1.1))
    assert (moved.in_turn, moved.corrected, moved.speed, moved.drift) == (True, False, 0.0, 0.0)
    assert moved.within == pytest.approx(0.0, abs=1e-12)
    apart = shift(replace(before, ended=None), replace(after, ended=None))
    assert apart is not None
    assert apart.within > 0.02


def test_waits_are_in_doubt_in_full() -> None:
    times, ended = np.zeros(8), np.arange(8) * 2.0
    head = Timings(times, doubt=np.full(8, 0.3), ended=ended + 1)
    moved = shift(Timings(times, doubt=np.full(8, 0.1), ended=ended), head)
    assert moved is not None
    assert (moved.value, moved.below, moved.above) == pytest.approx((0.0, 0.3, 0.1))


def test_too_few_pairs_are_no_pairs() -> None:
    times = np.zeros(8)
    ended = np.arange(8) * 2.0
    moved = shift(Timings(times, ended=ended), Timings(times, ended=ended + 100))
    assert moved is not None
    assert not moved.in_turn


@pytest.mark.parametrize(
    ("before", "after", "pairs"),
    [
        ([1, 3, 5], [2, 4, 6], [(0, 0), (1, 1), (2, 2)]),
        ([1, 2, 3], [4, 5, 6], [(2, 0)]),  # the last one and the first
        ([2], [1, 3], [(0, 0)]),
        ([1, 5, 6, 9], [2, 3, 7, 8], [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ([], [1], []),
    ],
)
def test_pairs_are_neighbours_in_time_and_each_is_used_once(
    before: list[float], after: list[float], pairs: list[tuple[int, int]]
) -> None:
    places = neighbours_in_time(np.array(before, dtype=float), np.array(after, dtype=float))
    assert list(zip(*map(list, places), strict=True)) == pairs


def test_rounds_that_were_held_up_are_left_out_on_both_sides() -> None:
    random = np.random.default_rng(3)
    before, after = runs_in_turn(random, steps(random), rounds=20)
    key = next(iter(after))
    reading = after[key].indicators["latency"]
    assert reading.rounds is not None
    # Five of twenty rounds took five times as long, and waited for other processes all that while.
    samples = tuple(5 * each if place % 4 == 0 else each for place, each in enumerate(reading.samples))
    waits = tuple(int(0.8 * each) if place % 4 == 0 else 0 for place, each in enumerate(samples))
    held_up = replace(reading, samples=samples, rounds=replace(reading.rounds, others_waits=waits))
    after[key] = replace(after[key], indicators={"latency": held_up})
    (change,) = [each for each in compared(before, after).changes if each.case == after[key].case]
    assert change.verdict != "regression"
    assert change.ratio == pytest.approx(1.0, abs=0.1)

"""The gate where a neighbour takes one core, so that each barrier of a step waits for a slice: simulated runs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from barrier_runs import Bursts, Machine, Trickle, always, never, run

from pyprof.analysis.gate.compare import compare_records
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.records.disturbance import MOST_LOST

PAIRS = 10


def equal(model, length):
    return 1.0


def planted(by):
    return lambda model, length: by


def pairs(seed, head=never, baseline=never, factor=equal, knows="waits", margin=0.03, count=PAIRS):
    """Gates over pairs of runs; neighbours may be made anew for each by a function of the random generator."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        neighbours = [each(random) if each in MADE else each for each in (baseline, head)]
        before = run(Machine(random, neighbours[0], knows))
        after = run(Machine(random, neighbours[1], knows), factor)
        yield before, after, compare_records(before, after, margin, [LATENCY.facts])


def bursts(random):
    return Bursts(*random.uniform(1, 5, 2), random.uniform(0, 10))


MADE = (bursts,)


def outcomes(*arguments, **options):
    return Counter(gate.outcome for *_, gate in pairs(*arguments, **options))


def test_the_simulation_slows_steps_by_ten_to_two_hundred_where_the_yardstick_slows_by_two():
    ((before, after, _),) = pairs(1, head=always, count=1)
    slower = [
        np.median(after[key].indicators["latency"].samples) / np.median(record.indicators["latency"].samples)
        for key, record in before.items()
    ]
    assert 4 < min(slower) < 12
    assert 100 < max(slower) < 250
    readings = [next(iter(each.values())).indicators["latency"].rounds.yardstick for each in (before, after)]
    assert np.median(readings[1]) / np.median(readings[0]) == pytest.approx(2, rel=0.1)


def test_quiet_equal_runs_pass_and_ten_percent_are_found():
    assert outcomes(2)["passed"] >= PAIRS - 1
    assert outcomes(3, factor=planted(1.1))["failed"] == PAIRS
    assert outcomes(4, factor=lambda model, length: 1.1 if model == "base" else 1.0)["failed"] >= PAIRS - 1


@pytest.mark.parametrize("knows", ["waits", "marks"])
@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_a_neighbour_beside_one_run_is_neither_a_regression_nor_a_pass(knows, factor):
    for sides in ({"head": always}, {"baseline": always}, {"head": always, "baseline": always}):
        for _, _, gate in pairs(5, **sides, factor=planted(factor), knows=knows, count=3):
            assert gate.outcome == "too disturbed"
            assert gate.counts == {"too disturbed": len(gate.changes)}
            assert {change.obstacle for change in gate.changes} == {"waits"}
            for change in gate.changes:
                lost = dict(zip(("baseline", "head"), change.held_up, strict=True))
                assert {side for side in lost if lost[side] > MOST_LOST} == set(sides)


def test_where_the_system_tells_nothing_the_yardstick_that_took_twice_as_long_does():
    for factor in (1.0, 1.3):
        assert outcomes(6, head=always, knows="nothing", factor=planted(factor)) == {"too disturbed": PAIRS}


@pytest.mark.parametrize("knows", ["waits", "marks"])
def test_a_neighbour_that_comes_and_goes_fools_nobody(knows):
    assert outcomes(7, head=bursts, baseline=bursts, knows=knows)["failed"] <= 1
    assert outcomes(8, head=bursts, baseline=bursts, knows=knows, factor=planted(1.3))["passed"] == 0


def test_rounds_that_were_left_alone_are_enough_to_judge_by():
    half = Bursts(2.0, 2.0, 0.0)
    found = [gate for *_, gate in pairs(9, head=half, factor=planted(1.3))]
    assert sum(gate.outcome == "failed" for gate in found) >= PAIRS - 1


@pytest.mark.parametrize("share", [0.0005, 0.002, 0.01])
def test_a_neighbour_that_takes_little_widens_the_interval(share):
    """The more regions are held up, the less is shown; what is not judged does not pass."""
    little = Trickle(share)
    assert outcomes(10, head=little)["failed"] <= 1
    assert outcomes(11, head=little, factor=planted(1.3))["passed"] == 0
    assert outcomes(12, baseline=little, factor=planted(1.3))["passed"] == 0


def test_a_machine_in_another_state_over_a_whole_run_is_no_regression():
    """As a virtual machine was that had been busy before: the yardstick 6 to 25 % slower, small steps beyond that."""
    random, found, planted_ones = np.random.default_rng(20), Counter(), Counter()
    for _ in range(PAIRS):
        moved = random.uniform(0.06, 0.25) * random.choice([-1, 1])
        state = (moved, random.uniform(0.5, 1.5) * abs(moved))
        before = run(Machine(random))
        found[compare_records(before, run(Machine(random, state=state)), 0.03, [LATENCY.facts]).outcome] += 1
        worse = run(Machine(random, state=state), planted(1.3))
        planted_ones[compare_records(before, worse, 0.03, [LATENCY.facts]).outcome] += 1
    assert found["failed"] <= 1
    assert planted_ones["passed"] == 0


def test_a_regression_beside_cases_that_cannot_be_judged_still_fails():
    random = np.random.default_rng(13)
    before, calm = run(Machine(random)), run(Machine(random), planted(1.3))
    disturbed = run(Machine(random, always))
    keys = list(before)
    after = {key: (calm if key == keys[0] else disturbed)[key] for key in keys}
    gate = compare_records(before, after, 0.03, [LATENCY.facts])
    assert gate.outcome == "failed"
    assert gate.counts == {"regression": 1, "too disturbed": len(keys) - 1}

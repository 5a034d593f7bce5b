"""The gate on a simulated machine that flips between two speeds: false alarms, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from flipping_runs import CURVES, STEP_SECONDS, run

from pyprof.analysis.gate.compare import Gate, compare_records
from pyprof.indicators.latency import INDICATOR as LATENCY


def equal(model, length):
    return 1.0


def gates(count, seed, factor=equal, *, margins=(0.0,), slopes=(0.85, 1.1), flips=True, **options):
    """Gates over pairs of runs, the second with the factor, in each of the margins."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        steps = random.uniform(*slopes, (CURVES, len(STEP_SECONDS)))
        before = run(random, steps, flips=flips, **options)
        after = run(random, steps, factor, flips=flips, **options)
        yield [compare_records(before, after, margin, [LATENCY.facts]) for margin in margins]


def one_case(by):
    return lambda model, length: by if (model, length) == ("m3", 384) else 1.0


def found(gate: Gate):
    return {(change.case.model, change.case.length) for change in gate.having("regression")}


def shares_that_fail(count, seed, factor=equal, margins=(0.0,), **options):
    every = list(gates(count, seed, factor, margins=margins, **options))
    return [np.mean([bool(each[index].having("regression")) for each in every]) for index in range(len(margins))]


def test_two_equal_runs_fail_in_fewer_than_one_of_twenty():
    at_zero, at_three = shares_that_fail(20, 1, margins=(0.0, 0.03))
    assert at_zero <= 0.05
    assert at_three <= 0.05


def test_quiet_equal_runs_do_too():
    assert max(shares_that_fail(20, 2, margins=(0.0, 0.03), flips=False)) <= 0.05


def test_one_slower_case_of_fifty_is_found_and_no_other():
    every = [found(each) for (each,) in gates(20, 3, one_case(1.10), rounds=12)]
    assert np.mean([("m3", 384) in each for each in every]) >= 0.7
    assert np.mean([bool(each - {("m3", 384)}) for each in every]) <= 0.05


def test_on_a_quiet_machine_six_rounds_suffice():
    every = [found(each) for (each,) in gates(20, 4, one_case(1.10), margins=(0.03,), flips=False)]
    assert np.mean([("m3", 384) in each for each in every]) >= 0.8


def test_a_slowdown_of_everything_is_not_taken_for_the_machine():
    assert shares_that_fail(20, 5, lambda model, length: 1.06, margins=(0.03,), rounds=12)[0] >= 0.8


def test_a_slowdown_of_half_of_the_models_does_not_hide_as_scatter():
    every = [found(each) for (each,) in gates(10, 6, lambda model, length: 1.15 if int(model[1:]) % 2 else 1.0)]
    slower = [sum(int(model[1:]) % 2 for model, _ in each) for each in every]
    assert np.mean(slower) >= 0.6 * 25
    assert np.mean([any(not int(model[1:]) % 2 for model, _ in each) for each in every]) <= 0.1


def test_the_yardstick_is_what_finds_it():
    with_it, without = (
        np.mean([("m3", 384) in found(each) for (each,) in gates(10, 7, one_case(1.15), rounds=12, yardstick=used)])
        for used in (True, False)
    )
    assert with_it >= without + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("slopes", [(0.85, 1.1), (0.85, 0.85), (1.1, 1.1)])
def test_false_alarms_stay_rare_over_many_runs(slopes):
    assert max(shares_that_fail(150, 8, margins=(0.0, 0.03), slopes=slopes)) <= 0.05


@pytest.mark.slow
def test_six_rounds_between_flips_find_ten_percent_in_most():
    every = [found(each) for (each,) in gates(80, 9, one_case(1.10))]
    assert np.mean([("m3", 384) in each for each in every]) > 0.5

"""Tipping points stay where they are while the machine changes its speed, as a comparison's cases are interleaved."""

from __future__ import annotations

import math
from itertools import permutations
from statistics import fmean

import pytest
from flipping_executor import FlippingExecutor
from simulated_machine import make_study, quadratic

from pyprof.analysis.curves import Curves
from pyprof.analysis.tipping import Crossing, Tipping
from pyprof.analysis.tipping_points import tipping_points
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.records.record import Record
from pyprof.study.plan import Plan
from pyprof.study.prediction import Prediction
from pyprof.study.resolve import resolve

LENGTHS = [500, 650, 800, 950, 1100, 1250, 1400, 1550]
TRUTH = 1000
# In blocks of twenty the share of sequential runs that agree scatters between 0.46 and 0.71.
SEEDS = range(40)


def tipping(seed: int, *, interleaved: bool) -> Tipping:
    """Where longformer is found to fall below bert on a machine of that seed; in truth it does at 1000 tokens."""
    block = {"vanilla": "bert", "variants": ["longformer"], "lengths": LENGTHS, "implementations": ["then"]}
    study = make_study(comparison=[block])
    plan, prediction = Plan(study, resolve(study), "cpu"), Prediction(study)
    machine = FlippingExecutor(quadratic, seed, interleaved=interleaved)
    records: dict[str, Record] = {}
    while (group := plan.next(records, records.keys(), prediction)) is not None:
        for outcome in machine.measure_together(group.cases):
            records[outcome.record.case.key] = outcome.record
            prediction.observe(outcome.record)
    (found,) = tipping_points(Curves.of(records.values()), resolve(study).comparisons, [LATENCY.facts])
    assert all(point.paired == interleaved for point in found.points)
    return found.tipping


@pytest.fixture(scope="module")
def found() -> dict[bool, list[Tipping]]:
    """The tipping points of all seeds, with and without interleaving."""
    return {interleaved: [tipping(seed, interleaved=interleaved) for seed in SEEDS] for interleaved in (True, False)}


def errors(all_found: list[Tipping]) -> list[float]:
    """How far the found lengths are off, as logarithms; none was found is as far off as the range goes."""
    farthest = math.log(LENGTHS[-1] / LENGTHS[0])
    return [farthest if one.crossing is None else math.log(one.crossing.length / TRUTH) for one in all_found]


def agreement(all_found: list[Tipping]) -> float:
    """How often one machine's tipping point lies in another's interval."""
    pairs = list(permutations(all_found, 2))
    return sum(_lies_in(one, other) for one, other in pairs) / len(pairs)


def _lies_in(one: Tipping, other: Tipping) -> bool:
    if one.crossing is None or other.crossing is None:
        return False
    return (other.crossing.low or 0) <= one.crossing.length <= (other.crossing.high or math.inf)


def test_interleaved_tipping_points_stay_put_where_sequential_ones_move(found: dict[bool, list[Tipping]]) -> None:
    together, apart = errors(found[True]), errors(found[False])
    assert {one.status for one in found[True]} == {"point"}
    assert len({one.status for one in found[False]}) > 1
    assert max(map(abs, together)) < math.log(LENGTHS[1] / LENGTHS[0])
    assert 4 * fmean(map(abs, together)) < fmean(map(abs, apart))


def test_each_runs_tipping_point_lies_in_the_others_interval(found: dict[bool, list[Tipping]]) -> None:
    assert agreement(found[True]) > 0.85
    assert agreement(found[True]) - agreement(found[False]) > 0.25


def test_the_truth_lies_in_the_interval(found: dict[bool, list[Tipping]]) -> None:
    truth = Tipping("point", Crossing(TRUTH, None, None))
    assert all(_lies_in(truth, one) for one in found[True])
    assert not all(_lies_in(truth, one) for one in found[False])

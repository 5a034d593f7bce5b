from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pyprof.analysis.curves import Setting
from pyprof.analysis.gate.shapes import move, shapes, span
from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.tipping import Crossing, Tipping
from pyprof.analysis.tipping_points import TippingPoint
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.indicators.registry import every
from pyprof.records.case import Case
from pyprof.records.comparison import Comparison
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds

INDICATORS = tuple(indicator.facts for indicator in every())
PAIR = Comparison("then", "longformer", "eager", "bert", "eager", "text", "token")
SETTING = Setting("infer", "base", 1, "float32", "cpu", False, "0")
DEARER, CHEAPER, EVEN = (RatioPoint(512, one, one - 0.1, one + 0.1) for one in (1.5, 0.5, 1.0))


def at(low, high, gains=True):
    crossing = Crossing(math.sqrt((low or 1) * (high or 9999)), low, high, gains)
    return TippingPoint(PAIR, LATENCY.facts, SETTING, (EVEN,), Tipping("point", crossing, (crossing,)))


def always(status, *points):
    lengths = [replace(point, length=128 * (index + 1)) for index, point in enumerate(points)]
    return TippingPoint(PAIR, LATENCY.facts, SETTING, tuple(lengths), Tipping(status))


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        (at(100, 200), at(300, 400), "later"),
        (at(300, 400), at(100, 200), "earlier"),
        (at(100, 200), at(200, 300), "not shown to have moved"),
        (at(100, None), at(2000, 3000), "not shown to have moved"),
        (at(None, 200), at(300, None), "later"),
        (always("everywhere", EVEN, CHEAPER), at(512, 1024), "later"),
        (always("everywhere", EVEN, CHEAPER), at(200, 1024), "not shown to have moved"),
        (always("nowhere", DEARER, DEARER, EVEN), at(128, 200), "earlier"),
        (always("nowhere", DEARER, DEARER, EVEN), at(200, 512), "not shown to have moved"),
        (always("undetermined", EVEN, EVEN), at(100, 200), "cannot be told"),
        (always("nowhere", EVEN, EVEN), at(100, 200), "cannot be told"),
    ],
)
def test_a_tipping_point_moved_where_the_intervals_have_nothing_in_common(before, after, moved):
    assert move(before, after) == moved


def test_a_crossing_at_the_end_of_several_is_the_one_that_counts():
    crossings = (Crossing(150, 100, 200, False), Crossing(350, 300, 400))
    several = TippingPoint(PAIR, LATENCY.facts, SETTING, (EVEN,), Tipping("several", crossings[1], crossings))
    assert span(several) == (300, 400)
    backwards = TippingPoint(PAIR, LATENCY.facts, SETTING, (EVEN,), Tipping("nowhere", None, crossings[:1]))
    assert span(backwards) is None


def compared(baseline, head):
    return shapes(baseline, head, [PAIR], INDICATORS)


def records(machine, factor=lambda length: 1.0, noise=0.01, seed=0):
    """A run on a machine of some speed: the variant overtakes near 1,000; `factor` is what happens to it."""
    random = np.random.default_rng(seed)
    for length in range(128, 2049, 128):
        for model, seconds in (("bert", length**2 / 1e6), ("longformer", length / 1e3 * factor(length))):
            times = machine * seconds * np.exp(random.normal(0, noise, 6))
            samples = tuple(int(value * 1e9) for value in times)
            reading = Reading(float(np.median(times)), min(times), max(times), samples, rounds=Rounds(str(length)))
            indicators = {"latency": reading, "peak_memory": Reading(float(length * (2 if model == "bert" else 1)))}
            yield Record(Case(model, length), "ok", f"{machine}", "2026", 1.0, None, indicators, attention="eager")


def test_a_faster_machine_has_the_same_shape():
    latency, memory = compared(records(1.0), records(0.2, seed=1))
    assert latency.setting.environment == ""
    assert latency.move == memory.move == "not shown to have moved"
    assert not any(ratio.shown for one in (latency, memory) for ratio in one.ratios)
    assert len(latency.ratios) == 16
    assert all(ratio.low < ratio.change < ratio.high for ratio in latency.ratios)


def test_a_slower_variant_moves_the_tipping_point_and_all_ratios():
    (latency, _) = compared(records(1.0), records(0.2, lambda length: 1.3, seed=1))
    assert latency.move == "later"
    assert sum(ratio.shown for ratio in latency.ratios) >= 14
    assert latency.ratios[3].change == pytest.approx(1.3, rel=0.03)


def test_equal_runs_show_no_change_in_nineteen_of_twenty():
    false = [
        any(ratio.shown for ratio in compared(records(1.0, seed=2 * seed), records(1.0, seed=2 * seed + 1))[0].ratios)
        for seed in range(40)
    ]
    assert np.mean(false) <= 0.05


def test_counted_ratios_change_exactly():
    head = [
        replace(one, indicators={**one.indicators, "peak_memory": Reading(float(one.case.length * 2))})
        for one in records(1.0)
    ]
    (_, memory) = compared(records(1.0), head)
    assert all(ratio.shown and ratio.low == ratio.high == ratio.change for ratio in memory.ratios)
    assert [ratio.change for ratio in memory.ratios] == pytest.approx([2.0] * 16)


def test_what_one_run_lacks_is_left_out():
    assert compared(records(1.0), []) == ()

"""The bench of truth judges rightly: fed with answers that are wrong, it says so."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.tipping import Crossing, Tipping

BENCH = str(Path(__file__).parents[2] / "bench")
MODULES = ("harness", "truth_durations", "truth_pairs", "truth_repeats")


@pytest.fixture(scope="module")
def bench():
    """The bench's modules by name."""
    sys.path.insert(0, BENCH)
    yield {name: importlib.import_module(name) for name in MODULES}
    sys.path.remove(BENCH)
    for name in MODULES:
        del sys.modules[name]


def planted(bench, **changes):
    durations = bench["truth_durations"]
    right = {"kind": durations.FIXED, "planted": 1e-3, "truth": 1.0e-3, "value": 1.002e-3, "low": 0.99e-3}
    rest = {"high": 1.01e-3, "samples": 6, "took": 0.1, "disturbed": 0.0}
    return durations.Found(**{**right, **rest, **changes})


def test_errors_and_misses_of_planted_durations_are_counted(bench):
    part = bench["truth_durations"].Planted(4, 0)
    part.found = [planted(bench), planted(bench), planted(bench, value=1.006e-3), planted(bench, low=1.001e-3)]
    assert [bar.value for bar in part.bars()] == [75, 75]
    assert not any(bar.holds for bar in part.bars())


def test_a_disturbed_run_of_drawn_lengths_is_shown_and_not_judged(bench):
    durations = bench["truth_durations"]
    part = durations.Planted(2, 0)
    part.found = [planted(bench, kind=durations.DRAWN), planted(bench, kind=durations.DRAWN, low=2.0, disturbed=0.2)]
    assert [bar.value for bar in part.bars()] == [100]
    row = dict(zip(durations.COLUMNS, part.figures()[1].rows[-1], strict=True))
    assert (row["runs"], row["judged"]) == (2, 1)


def test_batches_are_means_of_neighbours(bench):
    assert bench["truth_durations"]._batches(np.array([1.0, 3.0, 5.0, 9.0]), 2).tolist() == [2.0, 7.0]


def test_a_short_spin_is_measured_for_real(bench):
    found = bench["truth_durations"].one_length(200e-6, None)
    assert found.truth == pytest.approx(200e-6, rel=0.5)
    assert found.truth >= 200e-6
    assert found.value >= found.truth * 0.99


def compared(bench, kind, truth, verdict, took=1.0):
    return bench["truth_pairs"].Compared(kind, truth, truth, truth - 0.01, truth + 0.01, verdict, 0.01, 50, took)


def test_false_alarms_and_missed_slowdowns_are_counted(bench):
    pairs = bench["truth_pairs"]
    alike = pairs.Alike(4, 0, 1.0)
    alike.found = [compared(bench, "one", 1.0, verdict) for verdict in ("no difference shown",) * 3 + ("faster",)]
    assert [(bar.value, bar.holds) for bar in alike.bars()] == [(25, False)]
    slower = pairs.Slower(2, 0)
    slower.found[0.02] = [compared(bench, "2 %", 1.02, "slower"), compared(bench, "2 %", 1.02, "faster", took=31)]
    assert [(bar.value, bar.holds) for bar in slower.bars()] == [(50, False), (31, False)]


def test_rounds_too_few_for_an_interval_leave_the_width_out(bench):
    pairs = bench["truth_pairs"]
    one = pairs.Compared("few", 1.0, 1.0, 0.0, float("inf"), "no difference shown", float("inf"), 3, 1.0)
    row = dict(zip(pairs.COLUMNS, pairs._rows([one], "slower")[0], strict=True))
    assert row["half width, %"] is None
    assert row["detectable, %"] is None


def test_the_spread_is_that_of_the_logarithms(bench):
    repeats = bench["truth_repeats"]
    part = repeats.Spread(2, 0)
    workload = next(iter(repeats.WORKLOADS))
    part.found = {
        (workload, repeats.OURS): [(1.0, 2.0), (np.e**0.1, 2.0)],
        (workload, repeats.TIMER): [(1.0, 2.0), (np.e**0.4, 2.0)],
        (workload, repeats.DO_BENCH): [(1.0, 2.0), (np.e**0.1, 2.0)],
    }
    assert [bar.value for bar in part.bars()] == pytest.approx([0.25, 1.0])
    assert [bar.holds for bar in part.bars()] == [True, False]


@pytest.mark.parametrize(
    ("status", "crossing", "inside"),
    [
        ("point", Crossing(900, 512, 1024), True),
        ("point", Crossing(900, 512, None), True),
        ("point", Crossing(600, None, 768), False),
        ("point", Crossing(1200, 1024, 1536), False),
        ("nowhere", None, True),  # beyond 512, which is shown to cost more
        ("everywhere", None, False),  # before 700, which is shown to cost less
    ],
)
def test_a_tipping_point_has_to_lie_in_the_other_interval(bench, status, crossing, inside):
    repeats = bench["truth_repeats"]
    points = (RatioPoint(512, 1.2, 1.1, 1.3), RatioPoint(600, 1.0, 0.9, 1.1), RatioPoint(700, 0.8, 0.7, 0.9))
    other = SimpleNamespace(tipping=Tipping(status, crossing), points=points)
    assert repeats._inside(Crossing(800, 512, 1024), repeats._span(other)) is inside


def test_a_run_that_tells_nothing_is_not_judged(bench):
    other = SimpleNamespace(tipping=Tipping("undetermined"), points=(RatioPoint(512, 1.0, 0.9, 1.1),))
    assert bench["truth_repeats"]._span(other) is None

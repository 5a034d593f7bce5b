"""Planted durations: as long as they say, and in proportion to what was asked for."""

from __future__ import annotations

import time
from statistics import median

import pytest

from pyprof.errors import UsageError
from pyprof.timing.planted import Spin, Work, work_rounds

MICROSECOND, MILLISECOND = 1e-6, 1e-3


def nanoseconds_of(call):
    begin = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - begin


@pytest.mark.parametrize("seconds", [0.0, 20 * MICROSECOND, 2 * MILLISECOND])
def test_a_spin_notes_its_true_length(seconds):
    spin = Spin(seconds)
    around = [nanoseconds_of(spin) for _ in range(50)]
    lengths = spin.lengths_ns
    assert len(lengths) == 50
    # Python's clock around it is the same clock, so it shows the length and a little more, never less.
    assert all(seconds * 1e9 <= length <= outer for length, outer in zip(lengths, around, strict=True))
    assert median(outer - length for length, outer in zip(lengths, around, strict=True)) < 20_000


def test_a_spin_ends_soon_after_the_wanted_time():
    spin = Spin(50 * MICROSECOND)
    for _ in range(50):
        spin()
    assert min(spin.lengths_ns) < 51_000


def test_lengths_are_a_copy_that_grows_with_the_calls():
    spin = Spin(0)
    spin()
    before = spin.lengths_ns
    spin()
    assert len(before) == 1
    assert spin.lengths_ns[:1] == before
    assert len(spin.lengths_ns) == 2


def test_several_durations_are_taken_in_turn():
    spin = Spin(0, 300 * MICROSECOND, 100 * MICROSECOND)
    for _ in range(5):
        spin()
    wanted = (0, 300_000, 100_000, 0, 300_000)
    assert all(length >= least for length, least in zip(spin.lengths_ns, wanted, strict=True))
    assert spin.lengths_ns[3] < 100_000


def test_the_native_spin_returns_its_true_length():
    from pyprof._native import spin

    begin = time.perf_counter_ns()
    length = spin(100_000)
    assert 100_000 <= length <= time.perf_counter_ns() - begin


def test_work_is_in_proportion_to_its_rounds():
    base = work_rounds(0.2 * MILLISECOND)
    one, three = Work(base), Work(3 * base)
    ratios = []
    for _ in range(60):  # one after the other, so that both meet the same speed of the machine
        ratios.append(nanoseconds_of(three) / nanoseconds_of(one))
    assert median(ratios) == pytest.approx(3, rel=0.05)


def test_work_rounds_hits_the_wanted_time():
    # The machine's speed may change in between, at most about twofold; what else runs only makes it longer.
    seconds = min(nanoseconds_of(Work(work_rounds(MILLISECOND))) for _ in range(9)) * 1e-9
    assert 0.4 * MILLISECOND < seconds < 2.5 * MILLISECOND


def test_the_result_of_work_depends_on_all_rounds():
    from pyprof._native import work

    # Twelve chains that halve their distance from 1 in each of a round's 64 turns: all but 0 after one round.
    assert work(0) == pytest.approx(12 + sum(range(12)) / 12)
    assert work(1) == pytest.approx(12, rel=1e-12)


@pytest.mark.parametrize("seconds", [(-1,), (float("nan"),), (1e10,), (), (1e-6, -1)])
def test_a_senseless_spin_is_refused(seconds):
    with pytest.raises(ValueError, match="seconds"):
        Spin(*seconds)


def test_senseless_calls_are_refused():
    with pytest.raises(TypeError, match="without arguments"):
        Spin(0)(1)
    with pytest.raises(TypeError, match="by name"):
        Spin(seconds=1)
    with pytest.raises(UsageError, match="at least one round"):
        Work(0)

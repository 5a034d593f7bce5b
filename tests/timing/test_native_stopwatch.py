"""The stopwatch that calls between two stamps in native code."""

from __future__ import annotations

import sys
import time

import pytest

from pyprof._stopwatch import time_calls


def test_it_calls_as_often_as_told():
    calls = []
    assert time_calls(lambda: calls.append(1), 7) > 0
    assert len(calls) == 7
    assert time_calls(lambda: calls.append(1), 0) < 1_000_000
    assert len(calls) == 7


def test_its_time_lies_within_that_of_python():
    begin = time.perf_counter_ns()
    taken = time_calls(lambda: time.sleep(0.002), 2)
    outer = time.perf_counter_ns() - begin
    assert 4_000_000 <= taken <= outer


class Callable:
    """Its instances have no direct entry, unlike functions."""

    count = 0

    def __call__(self):
        self.count += 1


def test_it_calls_what_has_no_direct_entry():
    one = Callable()
    time_calls(one, 3)
    assert one.count == 3


def test_what_the_call_raises_passes_through():
    def fail():
        raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        time_calls(fail, 2)


def test_results_are_released():
    result = object()
    before = sys.getrefcount(result)
    time_calls(lambda: result, 100)
    assert sys.getrefcount(result) == before


def test_senseless_calls_are_refused():
    with pytest.raises(TypeError, match="how often"):
        time_calls(time.perf_counter_ns)
    with pytest.raises(TypeError):
        time_calls(3, 1)

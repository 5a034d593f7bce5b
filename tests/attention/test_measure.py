"""Interleaved rounds on a clock of their own: who is called when, when it ends, and what a failure costs."""

from __future__ import annotations

import pytest

from pyprof.attention.measure import Care, interleave
from pyprof.errors import UsageError
from pyprof.measure.statistics import Estimate


def rounds_of(calls, size):
    """The calls after the warm-up, round by round."""
    assert len(calls) % size == 0
    return [calls[index : index + size] for index in range(0, len(calls), size)]


def test_every_round_calls_each_once_in_random_order(clock, stopwatch):
    work = {name: clock.work(name, nanoseconds) for name, nanoseconds in {"a": 100, "b": 200, "c": 300}.items()}
    taken = interleave(work, Care(seconds=1.0, most_rounds=40), stopwatch)
    last = rounds_of(clock.calls[-120:], 3)
    assert all(sorted(one) == ["a", "b", "c"] for one in last)
    assert len({tuple(one) for one in last}) == 6
    assert taken.samples == {"a": [100] * 40, "b": [200] * 40, "c": [300] * 40}
    # The warm-up came before, one after the other.
    before = clock.calls[:-120]
    assert before == sorted(before)
    assert set(before) == {"a", "b", "c"}


def test_the_order_repeats_with_its_seed(clock, stopwatch):
    def order(seed):
        clock.calls.clear()
        work = {name: clock.work(name, 10) for name in "abcd"}
        interleave(work, Care(most_rounds=10, seed=seed), stopwatch)
        return clock.calls[-40:]

    assert order(1) == order(1)
    assert order(1) != order(2)


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [
        (20.0, 20),  # a second each
        (5.0, 6),  # six for an interval, though it takes longer
        (2.0, 4),  # but never more than twice the time
        (0.1, 1),
    ],
)
def test_rounds_end_with_the_time(clock, stopwatch, seconds, rounds):
    work = {"a": clock.work("a", 400_000_000), "b": clock.work("b", 600_000_000)}
    taken = interleave(work, Care(seconds), stopwatch)
    assert len(taken.samples["a"]) == len(taken.samples["b"]) == rounds


def test_one_that_fails_drops_out_and_the_others_go_on(clock, stopwatch):
    fine = clock.work("fine", 100)

    def late():
        if clock.calls.count("fine") > 30:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        clock.now += 50

    def never():
        raise NotImplementedError("there is no backward\nat all")

    taken = interleave({"fine": fine, "late": late, "never": never}, Care(most_rounds=60), stopwatch)
    assert list(taken.samples) == ["fine"]
    assert len(taken.samples["fine"]) == 60
    assert taken.failures["late"].status == "oom"
    assert (taken.failures["never"].status, taken.failures["never"].reason) == ("skipped", "there is no backward")


def test_an_interruption_is_no_failure(clock, stopwatch):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interleave({"a": stop}, Care(), stopwatch)


def test_ratios_are_paired_by_round(clock, stopwatch):
    """A machine that slows down in the middle changes the times, and not their ratio."""
    speed = {"now": 1}

    def work(nanoseconds):
        def call():
            clock.now += nanoseconds * speed["now"]
            clock.calls.append("any")
            speed["now"] = 1 + (len(clock.calls) // 60) % 2

        return call

    taken = interleave({"one": work(300), "two": work(600)}, Care(most_rounds=100), stopwatch)
    assert len(set(taken.samples["one"])) == 2
    assert taken.ratio("two", "one").value == 2.0
    assert taken.seconds("one").value in (300e-9, 450e-9, 600e-9)
    assert isinstance(taken.seconds("one"), Estimate)


@pytest.mark.parametrize(("seconds", "rounds"), [(0, 10), (-1, 10), (1, 0)])
def test_senseless_care_is_refused(seconds, rounds):
    with pytest.raises(UsageError):
        Care(seconds, rounds)

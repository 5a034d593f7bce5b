"""Interleaved rounds on a clock of their own: who is called when, when it ends, and what a failure costs."""

from __future__ import annotations

import math

import pytest

from pyprof.errors import UsageError
from pyprof.statistics.estimate import Estimate
from pyprof.timing.interleave import Interleaved, RoundLimits, interleave
from pyprof.timing.watch import NoWatch


def rounds_of(calls, size):
    """The calls after the warm-up, round by round."""
    assert len(calls) % size == 0
    return [calls[index : index + size] for index in range(0, len(calls), size)]


def test_every_round_calls_each_once_in_random_order(work_clock, work_stopwatch):
    work = {name: work_clock.work(name, nanoseconds) for name, nanoseconds in {"a": 100, "b": 200, "c": 300}.items()}
    taken = interleave(work, RoundLimits(seconds=1.0, most_rounds=40), work_stopwatch)
    last = rounds_of(work_clock.calls[-120:], 3)
    assert all(sorted(one) == ["a", "b", "c"] for one in last)
    assert len({tuple(one) for one in last}) == 6
    assert taken.samples == {"a": [100] * 40, "b": [200] * 40, "c": [300] * 40}
    # The warm-up came before, one after the other.
    before = work_clock.calls[:-120]
    assert before == sorted(before)
    assert set(before) == {"a", "b", "c"}


def test_the_order_repeats_with_its_seed(work_clock, work_stopwatch):
    def order(seed):
        work_clock.calls.clear()
        work = {name: work_clock.work(name, 10) for name in "abcd"}
        interleave(work, RoundLimits(most_rounds=10, seed=seed), work_stopwatch)
        return work_clock.calls[-40:]

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
def test_rounds_end_with_the_time(work_clock, work_stopwatch, seconds, rounds):
    work = {"a": work_clock.work("a", 400_000_000), "b": work_clock.work("b", 600_000_000)}
    taken = interleave(work, RoundLimits(seconds), work_stopwatch)
    assert len(taken.samples["a"]) == len(taken.samples["b"]) == rounds


def test_one_that_fails_drops_out_and_the_others_go_on(work_clock, work_stopwatch):
    fine = work_clock.work("fine", 100)

    def late():
        if work_clock.calls.count("fine") > 30:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        work_clock.now += 50

    def never():
        raise NotImplementedError("there is no backward\nat all")

    taken = interleave({"fine": fine, "late": late, "never": never}, RoundLimits(most_rounds=60), work_stopwatch)
    assert list(taken.samples) == ["fine"]
    assert len(taken.samples["fine"]) == 60
    assert taken.failures["late"].status == "oom"
    assert (taken.failures["never"].status, taken.failures["never"].reason) == ("skipped", "there is no backward")


def test_an_interruption_is_no_failure(work_clock, work_stopwatch):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interleave({"a": stop}, RoundLimits(), work_stopwatch)


def test_ratios_are_paired_by_round(work_clock, work_stopwatch):
    """A machine that slows down in the middle changes the times, and not their ratio."""
    speed = {"now": 1}

    def work(nanoseconds):
        def call():
            work_clock.now += nanoseconds * speed["now"]
            work_clock.calls.append("any")
            speed["now"] = 1 + (len(work_clock.calls) // 60) % 2

        return call

    taken = interleave({"one": work(300), "two": work(600)}, RoundLimits(most_rounds=100), work_stopwatch)
    assert len(set(taken.samples["one"])) == 2
    assert taken.ratio("two", "one").value == 2.0
    assert taken.seconds("one").value in (300e-9, 450e-9, 600e-9)
    assert isinstance(taken.seconds("one"), Estimate)


@pytest.mark.parametrize(("seconds", "rounds"), [(0, 10), (-1, 10), (1, 0)])
def test_senseless_care_is_refused(seconds, rounds):
    with pytest.raises(UsageError):
        RoundLimits(seconds, rounds)


def test_what_is_prepared_is_not_timed(work_clock, work_stopwatch):
    prepared = []

    def prepare():
        prepared.append(len(work_clock.calls))
        work_clock.now += 1_000_000

    work = {"hooked": work_clock.work("hooked", 120), "plain": work_clock.work("plain", 100)}
    taken = interleave(work, RoundLimits(most_rounds=30), work_stopwatch, prepare={"hooked": prepare})
    assert taken.samples == {"hooked": [120] * 30, "plain": [100] * 30}
    assert len(prepared) == 31  # once before the warm-up
    # Each call of the one is right behind its preparation.
    assert all(work_clock.calls[index] == "hooked" for index in prepared)


def test_a_watch_sees_every_reading(work_clock, work_stopwatch):
    class Watching(NoWatch):
        def __init__(self):
            self.began = 0

        def begin(self):
            self.began = len(work_clock.calls)

        def end(self):
            assert len(work_clock.calls) == self.began + 1
            return int(work_clock.calls[-1] == "b")

    work = {name: work_clock.work(name, 100) for name in "ab"}
    taken = interleave(work, RoundLimits(most_rounds=20), work_stopwatch, watch=Watching())
    assert taken.hits == {"a": [0] * 20, "b": [1] * 20}


def test_a_rule_ends_the_rounds(work_clock, work_stopwatch):
    class Third:
        name = "third"

        def reached(self, rounds):
            assert rounds.elapsed_ns == 100 * rounds.count
            return rounds.count == 3

    taken = interleave({"a": work_clock.work("a", 100)}, RoundLimits(), work_stopwatch, rules=[Third()])
    assert (taken.count, taken.stopped_by) == (3, "third")
    taken = interleave({"a": work_clock.work("a", 100)}, RoundLimits(most_rounds=9), work_stopwatch)
    assert taken.stopped_by == "samples"


def test_short_calls_are_repeated_within_a_reading(work_clock, work_stopwatch):
    work = {"a": work_clock.work("a", 10), "b": work_clock.work("b", 25)}
    taken = interleave(work, RoundLimits(most_rounds=10, shortest_ns=1_000), work_stopwatch)
    assert set(taken.samples["a"]) == {10 * taken.repeats["a"]}
    assert taken.repeats["a"] >= 100
    assert taken.ratio("b", "a").value == pytest.approx(2.5)
    assert taken.seconds("b").value == pytest.approx(25e-9)


def test_what_waits_in_the_run_queue_is_no_part_of_a_ratio(work_clock, work_stopwatch):
    """One of the two is kept waiting by another process: the ratio is that of what ran, the samples stay."""

    class Watching(NoWatch):
        waited_ns = 0

        def begin(self):
            self.waited_ns = 0

    watch = Watching()

    def kept_waiting():
        watch.waited_ns = 4_000
        work_clock.now += 1_000 + 4_000

    taken = interleave({"a": kept_waiting, "b": work_clock.work("b", 500)}, RoundLimits(), work_stopwatch, watch=watch)
    assert set(taken.samples["a"]) == {5_000}
    assert taken.ratio("a", "b").value == pytest.approx(2.0)
    assert taken.held_up("a") is None  # what other threads waited isn't told
    watch_seen = Interleaved(samples={"a": [100], "b": [100]}, waits={"a": [900], "b": [0]}, repeats={"a": 1, "b": 1})
    assert watch_seen.log_ratios("a", "b") == pytest.approx(math.log(0.05))  # a wait beyond the sample is cut


def test_the_share_that_other_threads_waited_is_told_of_what_ran(work_clock, work_stopwatch):
    class Watching(NoWatch):
        def begin(self):
            self.waited_ns, self.others_waited_ns = 0, 0

    watch = Watching()

    def kept_waiting():
        watch.waited_ns, watch.others_waited_ns = 4_000, 750
        work_clock.now += 1_000 + 4_000

    taken = interleave({"a": kept_waiting, "b": work_clock.work("b", 500)}, RoundLimits(), work_stopwatch, watch=watch)
    assert taken.held_up("a") == pytest.approx(0.75)
    assert taken.held_up("b") == 0


def test_a_pause_comes_between_rounds_and_is_no_part_of_the_time(work_clock, work_stopwatch):
    taken = []

    def pause():
        taken.append(len(work_clock.calls))
        work_clock.work("elsewhere", 10_000_000_000)()

    work = {"a": work_clock.work("a", 500_000_000)}
    rounds = interleave(work, RoundLimits(seconds=4.0, warmup_seconds=0.0), work_stopwatch, pause=pause)
    assert rounds.samples["a"] == [500_000_000] * 8
    assert len(taken) == 7
    assert rounds.elapsed_ns == 4_000_000_000

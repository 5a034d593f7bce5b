from __future__ import annotations

from dataclasses import replace

import pytest

from pyprof.analysis.gate.change import LARGEST_DETECTABLE
from pyprof.analysis.gate.compare import Gate, compare_records
from pyprof.indicators.parameters import INDICATOR as PARAMETERS
from pyprof.indicators.registry import every
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds

METRICS = tuple(indicator.facts for indicator in every())
SPREAD = (1.00, 1.01, 1.02, 1.00, 1.01, 1.03)


def latency(seconds, yardstick=None, samples=SPREAD):
    raw = tuple(round(seconds * each * 1e9) for each in samples)
    beside = () if yardstick is None else (round(yardstick * 1e9),) * len(raw)
    return Reading(seconds * 1.01, samples=raw, rounds=Rounds("", yardstick=beside) if beside else None)


def record(case, status="ok", reason=None, **indicators):
    return Record(case, status, "0", "2026-01-01T00:00:00Z", 1.0, reason, indicators)


def run(*records):
    return {one.case.key: one for one in records}


CASES = [Case(model, length) for model in ("bert", "vit", "swin") for length in (128, 256, 512, 1024)]


def timed(factor=lambda case: 1.0, **options):
    return run(*(record(case, latency=latency(0.001 * case.length * factor(case), **options)) for case in CASES))


def verdicts(gate: Gate):
    return {(one.case.model, one.case.length): one.verdict for one in gate.changes}


def test_equal_runs_are_unchanged_within_a_margin_and_open_without():
    assert set(verdicts(compare_records(timed(), timed(), 0.05, METRICS)).values()) == {"unchanged"}
    gate = compare_records(timed(), timed(), 0.0, METRICS)
    assert set(verdicts(gate).values()) == {"open"}
    assert gate.outcome == "passed"


def test_a_regression_and_an_improvement_are_found_where_they_are():
    factor = {CASES[5]: 1.3, CASES[7]: 0.7}
    gate = compare_records(timed(), timed(lambda case: factor.get(case, 1.0)), 0.1, METRICS)
    assert [change.case for change in gate.having("regression")] == [CASES[5]]
    assert [change.case for change in gate.having("improvement")] == [CASES[7]]
    worse = gate.having("regression")[0]
    assert worse.ratio == pytest.approx(1.3)
    assert worse.low < 1.3 < worse.high
    assert worse.p < 0.05
    assert gate.outcome == "failed"
    assert gate.counts == {"regression": 1, "improvement": 1, "unchanged": 10}


def test_everything_slower_is_everything_a_regression():
    gate = compare_records(timed(), timed(lambda case: 1.2), 0.05, METRICS)
    assert gate.counts == {"regression": len(CASES)}


def test_a_slow_machine_is_no_regression_where_a_yardstick_says_so():
    slow = timed(lambda case: 1.4, yardstick=0.014)
    assert compare_records(timed(yardstick=0.010), slow, 0.05, METRICS).counts.get("regression") is None
    assert compare_records(timed(), slow, 0.05, METRICS).counts == {"regression": len(CASES)}
    assert [one.corrected for one in compare_records(timed(yardstick=0.010), slow, 0.0, METRICS).timed] == [True]


def test_a_yardstick_of_another_length_or_that_stood_still_is_not_used():
    for broken in ([10], [0] * len(SPREAD)):
        wrong = timed(yardstick=0.010)
        for key, one in wrong.items():
            reading = replace(one.indicators["latency"], rounds=Rounds("", yardstick=broken))
            wrong[key] = replace(one, indicators={"latency": reading})
        assert [each.corrected for each in compare_records(wrong, timed(yardstick=0.01), 0.0, METRICS).timed] == [False]


def test_throughput_is_told_as_time_per_example():
    def run_of(batch, seconds):
        reading = replace(latency(seconds), value=batch / seconds, detail={"batch": batch})
        return run(record(Case("bert", 128, batch="largest"), throughput=reading))

    gate = compare_records(run_of(8, 1.0), run_of(16, 4.0), 0.1, METRICS)
    (change,) = gate.changes
    assert change.ratio == pytest.approx(2.0)
    assert change.verdict == "regression"
    assert change.note == "the largest batch went from 8 to 16"


@pytest.mark.parametrize(
    ("after", "margin", "verdict"),
    [
        (1000, 0.0, "unchanged"),
        (1001, 0.0, "regression"),
        (999, 0.0, "improvement"),
        (1030, 0.03, "unchanged"),
        (1031, 0.03, "regression"),
        (970, 0.03, "improvement"),
        (971, 0.03, "unchanged"),
    ],
)
def test_what_is_counted_is_certain(after, margin, verdict):
    before, now = (run(record(CASES[0], peak_memory=Reading(float(size)))) for size in (1000, after))
    (change,) = compare_records(before, now, margin, METRICS).changes
    assert change.verdict == verdict
    assert change.p is None
    assert change.low == change.high == change.ratio == after / 1000


def test_only_the_metrics_that_are_asked_for():
    both = run(record(CASES[0], latency=latency(1.0), parameters=Reading(5.0)))
    assert [change.metric for change in compare_records(both, both, 0.0, [PARAMETERS.facts]).changes] == ["parameters"]


def test_one_sample_is_too_few_and_says_so():
    few = timed(samples=(1.0,))
    gate = compare_records(few, few, 0.0, METRICS)
    assert gate.counts == {"too few samples": len(CASES)}
    assert gate.timed == ()
    assert gate.outcome == "passed"


def test_two_wild_samples_detect_nothing_and_overflow_nothing():
    wild = timed(samples=(1.0, 1e6))
    (change, *_) = compare_records(wild, wild, 0.0, METRICS).changes
    assert change.detectable is None
    assert change.verdict == "open"
    fine = compare_records(timed(), timed(), 0.0, METRICS).changes[0]
    assert 0 < fine.detectable < LARGEST_DETECTABLE


@pytest.mark.parametrize(
    ("was", "now", "kind", "failed"),
    [
        ("ok", "error", "broken", True),
        ("ok", "oom", "broken", True),
        ("ok", "timeout", "broken", True),
        ("ok", "skipped", "lost", True),
        ("ok", None, "lost", True),
        ("error", "ok", "mended", False),
        ("skipped", "ok", "new", False),
        (None, "ok", "new", False),
    ],
)
def test_what_only_one_run_has_is_told_and_fails_where_the_head_lacks_it(was, now, kind, failed):
    def one(status):
        if status is None:
            return {}
        figures = {"latency": latency(1.0)} if status == "ok" else {}
        return run(record(CASES[0], status, None if status == "ok" else "no memory", **figures))

    gate = compare_records(one(was), one(now), 0.0, METRICS)
    (only,) = gate.unpaired
    assert (only.kind, only.baseline, only.head) == (kind, was, now)
    assert (only.reason == "no memory") == ("ok" != was is not None or "ok" != now is not None)
    assert (gate.outcome == "failed") == failed == bool(gate.missing)
    assert gate.changes == ()


def test_what_failed_in_both_is_nobodys_change():
    both = run(record(CASES[0], "oom", "no memory"))
    assert compare_records(both, both, 0.0, METRICS).unpaired == ()


def test_a_metric_that_only_one_run_has_is_told():
    with_it = run(record(CASES[0], latency=latency(1.0), peak_memory=Reading(5.0)))
    without = run(record(CASES[0], latency=latency(1.0), peak_memory=Reading(None, reason="not counted")))
    (lost,) = compare_records(with_it, without, 0.0, METRICS).unpaired
    assert (lost.kind, lost.indicator.name, lost.reason) == ("lost", "peak_memory", "not counted")
    (new,) = compare_records(without, with_it, 0.0, METRICS).unpaired
    assert (new.kind, new.indicator.name) == ("new", "peak_memory")


def test_cases_of_the_same_rounds_are_no_neighbours():
    """With one length only, cases follow each other in the list; those timed together share the machine's mood."""

    def one_length(rounds):
        names = [f"m{index}" for index in range(12)]
        return run(
            *(
                record(Case(name, 128), latency=replace(latency(0.1), rounds=Rounds(rounds(index))))
                for index, name in enumerate(names)
            )
        )

    together = one_length(lambda index: "same")
    assert compare_records(together, together, 0.0, METRICS).timed[0].scatter.pairs == 0
    apart = one_length(lambda index: f"round {index}")
    assert compare_records(apart, apart, 0.0, METRICS).timed[0].scatter.pairs == 11


@pytest.mark.parametrize("told", [True, False])
def test_what_was_waited_for_other_processes_is_no_change(told):
    """Where the other threads are known not to have waited; else they may have, and nothing can be concluded."""

    def waiting(record):
        reading = record.indicators["latency"]
        waits = tuple(round(0.5 * sample) for sample in reading.samples)
        samples = tuple(sample + wait for sample, wait in zip(reading.samples, waits, strict=True))
        waited = replace(reading, samples=samples, rounds=replace(reading.rounds, waits=waits))
        if told:
            waited = replace(waited, rounds=replace(waited.rounds, others_waits=(0,) * len(samples)))
        return replace(record, indicators={"latency": waited})

    before = timed(yardstick=0.01)
    after = {key: waiting(record) for key, record in before.items()}
    gate = compare_records(before, after, 0.0, METRICS)
    assert [change.ratio for change in gate.changes] == pytest.approx([1.0] * len(CASES), rel=1e-6)
    assert gate.outcome == ("passed" if told else "too disturbed")

from __future__ import annotations

from dataclasses import replace

from pyprof.analysis.curves import Curves
from pyprof.analysis.omitted import Note, notes, omitted
from pyprof.failures import Status
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record

FACTS = {
    "bert": ModelFacts("text", "token"),
    "hubert": ModelFacts("speech", "token"),
}


def failed(model: str, length: int, status: Status, reason: str | None) -> Record:
    return Record(Case(model, length, "train"), status, "e", "t", 0.0, reason)


def test_hundreds_of_cases_become_one_line() -> None:
    records = [failed("bert", n, "skipped", f"predicted to take {n / 10:.1f} s, {n} s too long") for n in range(1, 201)]
    (one,) = omitted(Curves.of(records), FACTS)
    assert (one.status, one.cases, one.shortest, one.longest, one.mode, one.unit) == (
        "skipped",
        200,
        1,
        200,
        "train",
        "token",
    )
    assert one.subjects == ("bert eager",)
    assert one.reason == "predicted to take 0.1 s, 1 s too long"
    assert one.alike


def test_reasons_statuses_and_modalities_stay_apart() -> None:
    records = [
        failed("bert", 10, "skipped", "beyond the time budget"),
        failed("bert", 20, "skipped", "a shorter length was out of memory"),
        failed("bert", 30, "oom", "out of memory"),
        failed("hubert", 30, "oom", "out of memory"),
        failed("bert", 40, "error", None),
    ]
    found = omitted(Curves.of(records), FACTS)
    assert [one.status for one in found] == ["oom", "oom", "error", "skipped", "skipped"]
    assert {one.modality for one in found if one.status == "oom"} == {"text", "speech"}
    assert not any(one.alike for one in found)
    assert next(one.reason for one in found if one.status == "error") == "no reason was given"


def test_a_metric_without_a_figure_is_named() -> None:
    case = Case("bert", 10)
    reading = Reading(None, reason="no batch fits")
    record = Record(case, "ok", "e", "t", 0.0, indicators={"throughput": reading, "latency": Reading(1.0)})
    (one,) = omitted(Curves.of([record]), FACTS)
    assert (one.status, one.metric, one.reason, one.cases) == ("ok", "throughput", "no batch fits", 1)


def test_durations_and_sizes_in_a_reason_are_numbers_too() -> None:
    reasons = ["predicted 2.47 s, 0 s left", "predicted 8 min 44 s, 0 s left", "predicted 1 h 07 min, 0 s left"]
    records = [failed("bert", n, "skipped", reason) for n, reason in enumerate(reasons, 1)]
    assert len(omitted(Curves.of(records), FACTS)) == 1
    sizes = [
        failed("bert", n, "oom", f"needs {size}, more than 2 GiB") for n, size in enumerate(("3.1 GiB", "700 MiB"))
    ]
    assert len(omitted(Curves.of(sizes), FACTS)) == 1


def test_a_largest_batch_is_told_from_one_example() -> None:
    one = failed("bert", 10, "skipped", "beyond the time budget")
    largest = replace(one, case=replace(one.case, batch="largest"))
    assert [each.batch for each in omitted(Curves.of([one, largest]), FACTS)] == [1, "largest"]


def test_notes_are_grouped_likewise() -> None:
    texts = ["padded to 64 tokens", "padded to 384 tokens", "layer drop is off"]
    records = [Record(Case("bert", n), "ok", "e", "t", 0.0, notes=(text,)) for n, text in enumerate(texts)]
    assert notes(Curves.of(records)) == (Note("padded to 64 tokens", True, 2), Note("layer drop is off", False, 1))


def test_what_was_measured_on_resuming_is_not_missing() -> None:
    first = failed("bert", 10, "timeout", "took too long")
    assert omitted(Curves.of([first, replace(first, status="ok", reason=None)]), FACTS) == ()

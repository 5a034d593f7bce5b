"""The loop: budget, failures, interruption, resumption; on a simulated machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from flipping_executor import FlippingExecutor
from simulated_machine import Simulated, make_study, quadratic

from pyprof.analysis.omitted import outcome
from pyprof.errors import UsageError
from pyprof.records.run_directory import read
from pyprof.records.study import Study
from pyprof.study.run import Event, RunResult, StudyInterrupted, run_study


def run(study: Study | None, directory: Path, simulated: Simulated, resume: bool = False) -> RunResult:
    return run_study(study, directory, resume=resume, executor=simulated, clock=simulated.clock)


def test_every_case_is_measured_and_kept(tmp_path: Path, simulated: Simulated) -> None:
    result = run(make_study(), tmp_path, simulated)
    assert result.counts == {"ok": 10}
    assert simulated.closed
    kept = read(tmp_path)
    assert kept.records == result.records
    assert (kept.study.device, kept.study.threads, kept.study.memory_budget) == ("cpu", 2, 2**30)


def test_progress_tells_what_is_done_and_left(tmp_path: Path, simulated: Simulated) -> None:
    events: list[Event] = []
    run_study(make_study(), tmp_path, executor=simulated, progress=events.append, clock=simulated.clock)
    # Both models at a length are measured together.
    assert [event.kind for event in events] == ["started", "started", "finished", "finished"] * 5
    assert [event.done for event in events if event.kind == "finished"] == list(range(1, 11))
    assert {event.total for event in events} == {10}
    assert events[0].left > events[-2].left > events[-1].left == 0.0
    assert events[-1].elapsed == simulated.now
    assert events[2].record is not None
    assert events[2].record.case == events[0].case


def test_the_budget_is_kept_and_what_is_left_out_says_why(tmp_path: Path, simulated: Simulated) -> None:
    result = run(make_study(time_budget=90, modes=["infer", "train"]), tmp_path, simulated)
    assert simulated.now <= 90 * 1.05
    counts = result.counts
    assert counts["ok"] == len(simulated.measured) > 4
    assert counts["ok"] + counts["skipped"] == 20
    skipped = [record for record in result.records.values() if record.status == "skipped"]
    needless = [record for record in skipped if outcome(record.status, record.reason) == "not needed"]
    short = [record for record in skipped if outcome(record.status, record.reason) != "not needed"]
    assert all("left of the budget of 90.0 s" in str(record.reason) for record in short)
    # In inference the crossing is known, so that what is left of its curve is not missed.
    assert needless
    assert {record.case.mode for record in needless} == {"infer"}
    assert {record.case.key for record in skipped} <= set(read(tmp_path).records)
    assert max(record.case.length for record in skipped if record.case.mode == "train") == 2048


def test_failures_are_statuses_and_longer_lengths_are_skipped(tmp_path: Path, simulated: Simulated) -> None:
    simulated.failing = {("bert", 1024): "oom", ("longformer", 1536): "timeout"}
    result = run(make_study(), tmp_path, simulated)
    by_case = {(record.case.model, record.case.length): record for record in result.records.values()}
    assert by_case["bert", 1024].status == "oom"
    assert by_case["bert", 1536].status == by_case["bert", 2048].status == "skipped"
    assert by_case["bert", 2048].reason == "length 1024 ran out of memory already, and this is longer"
    assert by_case["longformer", 2048].reason == "length 1536 took too long already, and this is longer"
    assert ("bert", 1536) not in {(case.model, case.length) for case in simulated.measured}


def test_an_interrupted_run_goes_on_and_repeats_nothing(tmp_path: Path, simulated: Simulated) -> None:
    simulated.broken[5] = KeyboardInterrupt()
    with pytest.raises(StudyInterrupted, match=f"kept in {tmp_path}, so go on with --resume") as caught:
        run(make_study(), tmp_path, simulated)
    assert caught.value.exit_code == 130
    assert simulated.closed
    first = set(simulated.measured[:4])
    again = Simulated(quadratic)
    result = run(make_study(), tmp_path, again, resume=True)
    assert result.counts == {"ok": 10}
    assert first.isdisjoint(again.measured)
    assert len(again.measured) == 6
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert len(lines) == 10


def test_a_finished_run_has_nothing_to_go_on_with(tmp_path: Path, simulated: Simulated) -> None:
    run(make_study(), tmp_path, simulated)
    before = (tmp_path / "records.jsonl").read_bytes()
    again = Simulated(quadratic)
    assert run(None, tmp_path, again, resume=True).counts == {"ok": 10}
    assert again.measured == []
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_errors_are_tried_again_but_not_what_can_only_repeat(tmp_path: Path, simulated: Simulated) -> None:
    simulated.failing = {("bert", 128): "error", ("bert", 2048): "timeout", ("longformer", 2048): "oom"}
    assert run(make_study(), tmp_path, simulated).counts == {"ok": 7, "error": 1, "timeout": 1, "oom": 1}
    again = Simulated(quadratic)
    assert run(make_study(), tmp_path, again, resume=True).counts == {"ok": 8, "timeout": 1, "oom": 1}
    assert [(case.model, case.length) for case in again.measured] == [("bert", 128)]


def test_what_the_budget_left_out_is_tried_again_with_a_new_one(tmp_path: Path, simulated: Simulated) -> None:
    first = run(make_study(time_budget=30), tmp_path, simulated)
    assert first.counts["skipped"] > 0
    again = Simulated(quadratic)
    result = run(make_study(time_budget=10_000), tmp_path, again, resume=True)
    assert result.counts == {"ok": 10}
    assert len(again.measured) + first.counts["ok"] == 10
    assert read(tmp_path).study.time_budget == 10_000


def test_going_on_does_not_write_the_same_skip_again(tmp_path: Path, simulated: Simulated) -> None:
    simulated.failing = {("bert", 1024): "oom"}
    run(make_study(), tmp_path, simulated)
    before = (tmp_path / "records.jsonl").read_bytes()
    run(None, tmp_path, Simulated(quadratic), resume=True)
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_the_models_of_a_comparison_are_measured_together(tmp_path: Path, simulated: Simulated) -> None:
    run(make_study(), tmp_path, simulated)
    assert [[(case.model, case.length) for case in group] for group in simulated.groups] == [
        [("bert", length), ("longformer", length)] for length in (128, 512, 1024, 1536, 2048)
    ]


def test_a_search_for_the_largest_batch_stays_alone(tmp_path: Path, simulated: Simulated) -> None:
    run(make_study(metrics=["latency", "throughput"]), tmp_path, simulated)
    assert {len(group) for group in simulated.groups if group[0].batch == "largest"} == {1}
    assert {len(group) for group in simulated.groups if group[0].batch == 1} == {2}


def test_samples_of_the_same_rounds_are_kept_as_such(tmp_path: Path) -> None:
    machine = FlippingExecutor(quadratic, seed=1, interleaved=True)
    result = run(make_study(), tmp_path, machine)
    rounds: dict[int, set[str]] = {}
    for record in result.records.values():
        rounds.setdefault(record.case.length, set()).add(record.indicators["latency"].rounds.id)
    assert sorted(map(len, rounds.values())) == [1] * 5
    assert len(set.union(*rounds.values())) == 5
    assert read(tmp_path).records == result.records


def test_what_a_group_gave_before_an_interruption_is_not_measured_again(tmp_path: Path, simulated: Simulated) -> None:
    simulated.broken[4] = KeyboardInterrupt()
    with pytest.raises(StudyInterrupted):
        run(make_study(), tmp_path, simulated)
    again = Simulated(quadratic)
    assert run(make_study(), tmp_path, again, resume=True).counts == {"ok": 10}
    # Of the second group only the second case is left, which then has no rounds in common with the first.
    assert [[(case.model, case.length) for case in group] for group in again.groups][:2] == [
        [("longformer", 512)],
        [("bert", 1024), ("longformer", 1024)],
    ]


def test_what_is_foregone_leaves_the_rest_of_its_group_together(tmp_path: Path, simulated: Simulated) -> None:
    block = {"vanilla": "bert", "variants": ["longformer", "nystromformer"], "lengths": [128, 256]}
    simulated.failing = {("longformer", 128): "oom"}
    run(make_study(comparison=[{**block, "implementations": ["then"]}]), tmp_path, simulated)
    assert [case.model for case in simulated.groups[1]] == ["bert", "nystromformer"]


def test_another_study_or_machine_cannot_go_on(tmp_path: Path, simulated: Simulated) -> None:
    run(make_study(), tmp_path, simulated)
    with pytest.raises(UsageError, match="was made by a study that differs in modes, seed: go on with that one"):
        run(make_study(seed=1, modes=["train"]), tmp_path, Simulated(quadratic), resume=True)
    with pytest.raises(UsageError, match=r"on another machine .*\(processor: simulated against other\)"):
        run(make_study(), tmp_path, Simulated(quadratic, cpu="other"), resume=True)


def test_a_study_that_cannot_run_leaves_nothing_behind(tmp_path: Path, simulated: Simulated) -> None:
    block = {"vanilla": "brt", "lengths": [128]}
    with pytest.raises(UsageError, match="there is no model 'brt'"):
        run(make_study(comparison=[block]), tmp_path / "run", simulated)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="there is no study to run"):
        run(None, tmp_path / "run", simulated)


def test_warnings_of_a_resumed_run_are_handed_on(tmp_path: Path, simulated: Simulated) -> None:
    run(make_study(), tmp_path, simulated)
    path = tmp_path / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-50])
    result = run(None, tmp_path, Simulated(quadratic), resume=True)
    assert result.counts == {"ok": 10}
    (warning,) = result.warnings
    assert "torn" in warning


def test_an_executor_that_breaks_is_closed_and_loses_nothing(tmp_path: Path, simulated: Simulated) -> None:
    simulated.broken[3] = RuntimeError("a defect")
    with pytest.raises(RuntimeError, match="a defect"):
        run(make_study(), tmp_path, simulated)
    assert simulated.closed
    assert len(read(tmp_path).records) == 2

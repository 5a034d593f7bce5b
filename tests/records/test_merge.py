"""Joining runs of one study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from simulated_machine import Simulated, make_study, quadratic
from simulated_worker import SleepingWorker
from sleeping_run import sleeping_study

from pyprof.analysis.curves import Curves
from pyprof.cli.main import main
from pyprof.errors import UsageError
from pyprof.failures import Status
from pyprof.records.merge import merge
from pyprof.records.run_directory import Run, read, read_layers
from pyprof.records.store import Store
from pyprof.study.run import run_study


def measured(directory: Path, lengths: int = 3, cpu: str = "simulated", **statuses: Status) -> Run:
    """A run of two models; statuses name a model and a length, as in bert_16="error"."""
    run_study(sleeping_study(lengths), directory, executor=SleepingWorker(cpu=cpu))
    run = read(directory)
    with Store(directory, resume=True) as store:
        for name, status in statuses.items():
            model, _, length = name.partition("_")
            for record in run.records.values():
                if (record.case.model, record.case.length) == (model, int(length)):
                    reason = f"of {directory.name}"
                    store.append(replace(record, status=status, reason=reason, indicators={}))
    return read(directory)


def reasons(run: Run) -> set[tuple[str, str | None]]:
    return {(f"{each.case.model} {each.case.length}", each.reason) for each in run.records.values() if each.reason}


def test_each_case_is_there_once_with_its_layers(tmp_path: Path) -> None:
    one, other = measured(tmp_path / "a"), measured(tmp_path / "b")
    merged = merge([one, other], tmp_path / "both")
    both = read(tmp_path / "both")
    assert both.records == one.records
    assert both.study == one.study
    assert both.environment == one.environment
    assert (dict(merged.taken), merged.duplicates) == ({str(one.directory): 6, str(other.directory): 0}, 6)
    assert len((tmp_path / "both" / "records.jsonl").read_text().splitlines()) == 6
    for key in both.records:
        assert read_layers(tmp_path / "both", key) == read_layers(tmp_path / "a", key)


def test_what_was_measured_together_stays_together(tmp_path: Path) -> None:
    one = measured(tmp_path / "a", longformer_16="error")
    other = measured(tmp_path / "b", bert_32="timeout")
    merge([one, other], tmp_path / "both")
    both = read(tmp_path / "both")
    assert {record.status for record in both.records.values()} == {"ok"}
    merged = merge([other, one], tmp_path / "again")
    assert dict(merged.taken) == {str(other.directory): 4, str(one.directory): 2}


def test_a_case_without_a_figure_is_taken_where_no_run_has_one(tmp_path: Path) -> None:
    one = measured(tmp_path / "a", bert_16="skipped", bert_32="error", bert_48="error")
    other = measured(tmp_path / "b", bert_16="error", bert_32="oom", bert_48="timeout")
    both = read(merge([one, other], tmp_path / "both").directory)
    assert reasons(both) == {("bert 16", "of b"), ("bert 32", "of b"), ("bert 48", "of b")}


def test_unlike_machines_are_kept_apart(tmp_path: Path) -> None:
    one, other = measured(tmp_path / "a", bert_16="error", longformer_16="error"), measured(tmp_path / "b", cpu="EPYC")
    merged = merge([one, other], tmp_path / "both")
    assert merged.unlike == ("processor: simulated against EPYC",)
    both = read(tmp_path / "both")
    assert {each.cpu for each in both.environments.values()} == {"simulated", "EPYC"}
    assert {
        record.case.length for record in both.records.values() if record.environment == other.environment.fingerprint
    } == {16}
    # Each machine has curves of its own, so that no ratio is taken across them.
    assert len(Curves.of(both.records.values()).ok) == 4


def test_other_studies_are_refused(tmp_path: Path) -> None:
    one, other = measured(tmp_path / "a"), measured(tmp_path / "b", lengths=4)
    with pytest.raises(UsageError, match=r"is of another study than .*, as they differ in comparison"):
        merge([one, other], tmp_path / "both")
    run_study(make_study(modes=["infer", "train"]), tmp_path / "c", executor=Simulated(quadratic))
    with pytest.raises(UsageError, match="differ in comparison, modes: "):
        merge([one, read(tmp_path / "c")], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_a_run_that_goes_on_is_waited_for(tmp_path: Path) -> None:
    one, other = measured(tmp_path / "a"), measured(tmp_path / "b")
    with Store(tmp_path / "b", resume=True), pytest.raises(UsageError, match="is still being measured"):
        merge([one, other], tmp_path / "both")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path / "a"), measured(tmp_path / "b")
    a, b, both = (str(tmp_path / name) for name in ("a", "b", "both"))
    assert main(["merge", a, b, "-o", both]) == 0
    said = capsys.readouterr().out
    assert f"6 cases of {a}" in said
    assert f"6 cases are in {both} (6 records of cases that another run has were left out)" in said
    assert main(["merge", a, b, "-o", both]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["merge", a, "-o", both]) == 2
    assert "name two at least" in capsys.readouterr().err

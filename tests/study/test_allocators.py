"""A study with allocators: a comparison has one, its cases run in a process of that kind, and reports say so."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from simulated_machine import Simulated, make_study, quadratic

from pyprof.errors import UsageError
from pyprof.records import run_directory
from pyprof.records.case import Case
from pyprof.records.study import Study, load, parse
from pyprof.report import terminal
from pyprof.report.run import view_of
from pyprof.study.narrow import Narrowing, narrow
from pyprof.study.resolve import resolve
from pyprof.study.run import run_study
from pyprof.worker.executors import InProcessExecutor, WorkerExecutor

BLOCK = {"vanilla": "bert", "variants": ["longformer"], "lengths": [128, 1536], "implementations": ["then", "now"]}


def study(**changes: object) -> Study:
    return make_study(comparison=[BLOCK], allocators={"now": "keep"}, **changes)


def test_a_comparison_has_the_allocator_of_its_implementations_and_shares_no_case_with_another() -> None:
    comparisons = resolve(study()).comparisons
    assert [(each.name, each.allocator) for each in comparisons] == [("then", "default"), ("now", "keep")]
    assert [pairing.allocator for pairing in resolve(study(allocator="keep")).pairings] == ["keep", "keep"]


def test_groups_are_of_one_allocator_and_ratios_within_it(tmp_path: Path) -> None:
    machine = Simulated(lambda case: quadratic(case) * (0.5 if case.allocator == "keep" else 1.0))
    run_study(study(), tmp_path / "run", executor=machine, clock=machine.clock)
    assert len(machine.measured) == 8
    assert all(len({case.allocator for case in group}) == 1 for group in machine.groups)
    run = run_directory.read(tmp_path / "run")
    (text,) = view_of(run).modalities
    assert {(line.comparison.name, line.comparison.allocator): len(line.points) for line in text.tipping} == {
        ("then", "default"): 2,
        ("now", "keep"): 2,
    }
    file = io.StringIO()
    terminal.write(view_of(run), Console(file=file, width=110))
    printed = " ".join(file.getvalue().split())
    assert "Latency of one example, infer (s), memory not kept" in printed
    assert "Latency of one example, infer (ms), memory kept" in printed
    assert "now: each model's best implementation, memory kept" in printed


def test_where_a_device_has_its_own_memory_the_hosts_allocator_says_nothing() -> None:
    resolved = resolve(study(device="cuda"))
    assert {pairing.allocator for pairing in resolved.pairings} == {"default"}
    same = make_study(comparison=[{**BLOCK, "implementations": ["then", "eager"]}], allocators={"eager": "keep"})
    assert len(resolve(same).pairings) == 2
    assert len(resolve(replace(same, device="cuda")).pairings) == 1


def test_quick_keeps_memory_for_today_and_leaves_2023_as_the_process_is() -> None:
    quick = load("quick")
    assert {name: quick.allocator_of(name) for name in ("then", "now", "sdpa/chunks")} == {
        "then": "default",
        "now": "keep",
        "sdpa/chunks": "keep",
    }


def test_the_study_survives_its_file_and_narrowing() -> None:
    assert parse(study().to_table(), "again") == study()
    only_then = narrow(study(), Narrowing(implementations=("then",)))
    assert (only_then.allocators, only_then.allocator) == ({}, "default")
    kept = narrow(study(), Narrowing(settings={"allocator": "keep"}))
    assert {kept.allocator_of(name) for name in ("then", "now")} == {"keep"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"allocator": "keeps"}, "test: allocator has no allocator 'keeps': did you mean 'keep'?"),
        ({"allocators": {"now": "fast"}}, "test: allocators: now has no allocator 'fast'"),
        ({"allocators": {"nwo": "keep"}}, "test: allocators names 'nwo', which no comparison has: did you mean 'now'?"),
        ({"allocators": "keep"}, "test: allocators must be a table from implementations"),
    ],
)
def test_wrong_names_are_one_sentence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_study(comparison=[BLOCK], **changes)
    assert str(caught.value).startswith(message)


def real(tmp_path: Path, allocators: dict[str, str]) -> Study:
    block = {"vanilla": "bert", "variants": [], "lengths": [32], "implementations": ["then", "now"]}
    care = {"min_samples": 6, "max_samples": 6, "max_seconds": 2.0}
    return make_study(comparison=[block], allocators=allocators, size="tiny", measure=care)


def test_each_allocator_has_a_process_of_its_own(tmp_path: Path) -> None:
    executor = WorkerExecutor()
    result = run_study(real(tmp_path, {"now": "keep"}), tmp_path / "run", executor=executor)
    assert {(record.case.attention, record.case.allocator, record.status) for record in result.records.values()} == {
        ("eager", "default", "ok"),
        ("sdpa", "keep", "ok"),
    }
    # One environment: what the user's process is, whatever the cases asked for.
    assert len({record.environment for record in result.records.values()}) == 1
    assert run_directory.read(tmp_path / "run").environment.allocator is None


def test_a_process_cannot_change_its_own(tmp_path: Path) -> None:
    result = run_study(real(tmp_path, {"now": "keep"}), tmp_path / "run", executor=InProcessExecutor())
    failed = next(record for record in result.records.values() if record.case.allocator == "keep")
    assert failed.status == "error"
    assert failed.reason is not None
    assert "is fixed when it starts: this one has default" in failed.reason


def test_the_key_of_a_case_tells_its_allocator() -> None:
    plain = Case("bert", 128)
    assert replace(plain, allocator="keep").key != plain.key
    assert str(replace(plain, allocator="keep")).endswith("allocator keep")

"""Spoiled runs, study files and command lines: no traceback, no hang, no wrong exit code. `run_fuzz.py` repeats one."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from corruptions import spoil_run
from outcomes import outcome
from run_fuzz import faults
from simulated_machine import Simulated
from subjects import copied, make_runs, study_files

from pyprof.errors import PyprofError
from pyprof.records import validate
from pyprof.records.run_directory import read
from pyprof.study.run import run_study

QUICK = {"runs": range(60), "studies": range(80), "traces": range(60), "lines": range(32)}
# What is left of 5,000 runs, 5,000 study files and 500 command lines is for run_fuzz.py: it takes an hour.
MORE = {"runs": range(60, 500), "studies": range(80, 500), "traces": range(60, 400), "lines": range(32, 200)}


@pytest.mark.parametrize("kind", QUICK)
def test_a_few_of_each(tmp_path: Path, kind: str) -> None:
    counts: Counter[str] = Counter()
    found = faults(kind, QUICK[kind], tmp_path, counts)
    assert not found, "\n".join(found)
    # Some are refused and some are let pass, or there would be nothing to be learned from them.
    assert counts["exit code 0"] > 5
    assert counts["exit code 2"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", MORE)
def test_more_of_each(tmp_path: Path, kind: str) -> None:
    found = faults(kind, MORE[kind], tmp_path, Counter())
    assert not found, "\n".join(found)


def test_a_spoiled_run_is_gone_on_with_or_refused(tmp_path: Path) -> None:
    (_, right), outcomes = make_runs(tmp_path), Counter[str]()
    for number in range(20):
        draw = random.Random(f"run {number}")
        spoiled = copied(right, tmp_path / "spoiled")
        spoil_run(draw, spoiled)
        machine = Simulated(lambda case: 1e-3 * case.length)
        try:
            run_study(None, spoiled, resume=True, executor=machine, clock=machine.clock)
        except PyprofError as error:
            outcomes[type(error).__name__] += 1
        else:
            # What is damaged is measured again.
            outcomes["ok"] += 1
            assert len(read(spoiled).records) >= len(machine.measured)
    assert outcomes["ok"] > 5
    assert outcomes["UsageError"] > 2


def test_what_is_not_spoiled_passes(tmp_path: Path) -> None:
    for run in make_runs(tmp_path):
        for command in (("report", run), ("report", run, "--json"), ("compare", run, run, "--markdown")):
            done = outcome([str(word) for word in command])
            assert (done.code, done.fault) in {(0, None), (4, None)}
            assert "left out" not in done.out
    for number, content in enumerate(study_files()):
        path = tmp_path / f"{number}.toml"
        path.write_bytes(content)
        assert outcome(["study", str(path), "--dry-run"]).code == 0


def test_a_check_that_lets_all_pass_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzz is tested itself: without the checks of a record's values it finds what they kept out."""
    monkeypatch.setattr(validate, "checked", _unchecked)
    assert len(faults("runs", range(30), tmp_path, Counter())) > 1


def _unchecked(check: validate.Check, value: object, where: str) -> object:
    try:
        return check(value)
    except validate.Refused as refused:
        raise TypeError(where) from refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("raises",), "exit code 70"),
        (("exits",), "exit code 70"),
        (("hangs",), "it took longer than"),
        (("says nothing",), "more or less than one sentence"),
        (("escapes",), "a control character"),
        (("no json", "--json"), "no JSON document"),
        (("fails the gate",), "exit code 1"),
    ],
)
def test_each_fault_is_seen(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str) -> None:
    import time

    from pyprof.errors import GateError

    def read(path: Path) -> object:
        if path.name == "raises":
            raise KeyError("spam")
        if path.name == "exits":
            raise SystemExit("spam")
        if path.name == "hangs":
            while True:
                time.sleep(0.01)
        if path.name == "fails the gate":
            raise GateError("the gate is not passed")
        if path.name == "escapes":
            print("\x1b[2J")
        if path.name == "no json":
            print(json.dumps({"a": float("nan")}))
        return path

    def show(run: object, *, as_json: bool) -> None:
        del run, as_json

    monkeypatch.setattr("pyprof.records.run_directory.read", read)
    monkeypatch.setattr("pyprof.cli.report.show", show)
    if arguments == ("says nothing",):
        monkeypatch.setattr("pyprof.cli.report.show", lambda *_, **__: None)
        monkeypatch.setattr("outcomes.main", lambda _: 2)
    found = outcome(["report", *arguments], seconds=0.5).fault
    assert found is not None
    assert words in found

"""`pyprof gate` with runs that are written, not measured: what it asks for, and what it ends in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_compare_command import slower, write_run

from pyprof.cli.main import main
from pyprof.records.run_directory import read
from pyprof.study import in_turn


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["gate", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What was asked for; the head's longformer takes a fifth longer at 512."""
    asked: dict[str, Any] = {}

    def measure(study: str, codes: dict[str, in_turn.Code], directory: Path, **options: Any) -> dict[str, Any]:
        asked.update(study=study, codes=codes, directory=directory, resume=options["resume"])
        options["progress"]("head", "\x1b[31m[1/2] half")
        factors = {"base": lambda case: 1.0, "head": slower}
        return {name: read(write_run(directory / name, factors[name])) for name in codes}

    monkeypatch.setattr(in_turn, "measure_in_turn", measure)
    return asked


def test_it_measures_both_and_ends_as_compare_does(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, measured: dict[str, Any]
) -> None:
    folders = ("--base", tmp_path / "a", "--head", tmp_path / "b", "-o", tmp_path / "out")
    code, out, err = run(capsys, "speed.toml", *folders)
    assert code == 1
    assert "out/headagainst" in "".join(out.split())
    assert err.splitlines() == [
        "head: \\x1b[31m[1/2] half",
        "pyprof: the gate is not passed: 1 regression beyond 3 % shown",
    ]
    assert measured["codes"] == {"base": in_turn.Code(tmp_path / "a"), "head": in_turn.Code(tmp_path / "b")}
    assert (measured["study"], measured["directory"], measured["resume"]) == ("speed.toml", tmp_path / "out", False)


def test_its_margin_and_its_forms(capsys: pytest.CaptureFixture[str], tmp_path: Path, measured: dict[str, Any]) -> None:
    folders = ("--base", tmp_path, "--head", tmp_path, "-o")
    code, out, _ = run(capsys, "speed.toml", *folders, tmp_path / "one", "--fail-over", "50%", "--json", "--resume")
    assert code == 0
    assert json.loads(out)["outcome"] == "passed"
    assert measured["resume"] is True
    code, out, _ = run(capsys, "speed.toml", *folders, tmp_path / "two", "--markdown")
    assert code == 1
    assert out.startswith("#")
    code, _, _ = run(capsys, "speed.toml", *folders, tmp_path / "three", "--metrics", "parameters")
    assert code == 0


def test_what_excludes_each_other_is_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, measured: dict[str, Any]
) -> None:
    folders = ("--base", tmp_path, "--head", tmp_path, "-o", tmp_path / "out")
    code, _, err = run(capsys, "speed.toml", *folders, "--markdown", "--json")
    assert (code, err) == (2, "pyprof: --markdown and --json are two forms of the same: choose one\n")
    assert not measured


def test_what_was_too_disturbed_is_measured_in_turn_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(study: str, codes: dict[str, in_turn.Code], directory: Path, **options: Any) -> dict[str, Any]:
        waits = {"base": 0.0, "head": 0.95}
        return {
            name: read(write_run(directory / name, waits=waits[name], ended=tuple(range(place, place + 12, 2))))
            for place, name in enumerate(codes)
        }

    monkeypatch.setattr(in_turn, "measure_in_turn", measure)
    folders = ("--base", tmp_path, "--head", tmp_path, "-o")
    code, out, _ = run(capsys, "speed.toml", *folders, tmp_path / "one")
    assert code == 4
    told = " ".join(out.split())
    assert "Measure both again by the same pyprof gate with another -o" in told
    assert "pyprof study" not in told
    code, out, _ = run(capsys, "speed.toml", *folders, tmp_path / "two", "--markdown")
    assert code == 4
    assert "```" not in out


@pytest.mark.parametrize("lacking", ["--base", "--head"])
def test_both_folders_are_asked_for(capsys: pytest.CaptureFixture[str], lacking: str) -> None:
    given = {"--base": "a", "--head": "b"}
    code, _, err = run(capsys, "speed.toml", *(word for pair in given.items() if pair[0] != lacking for word in pair))
    assert code == 2
    assert lacking in err


def test_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "quick", "--base", tmp_path, "--head", tmp_path / "none", "-o", tmp_path / "out")
    assert code == 2
    assert err.startswith("pyprof: the code of head is not there: check the folder ")

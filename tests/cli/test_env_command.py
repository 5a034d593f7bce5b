from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyprof.cli.main import main
from pyprof.errors import UsageError
from pyprof.machine import pin


def test_the_check_is_a_table_that_ends_with_what_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--check", "--seconds", "0.3"]) == 0
    out = capsys.readouterr().out
    for name in ("governor", "turbo", "hyperthreads", "threads", "pinning", "steadiness", "other processes", "steal"):
        assert f"\n{name} " in out
    last = " ".join(out.split("\n\n")[-1].split())
    assert "30 s of pyprof.compare" in last or "give it more --seconds" in last


def test_the_check_as_json_holds_what_it_was_derived_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--check", "--seconds", "0.3", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["environment"]["fingerprint"]
    assert {check["status"] for check in data["checks"]} <= {"ok", "warn", "unknown"}
    readings = data["yardstick"]["readings_ns"]
    assert len(readings) == len(data["yardstick"]["hits"]) == data["noise"]["samples"] >= 2
    assert data["expected"][0]["budget_seconds"] == 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seconds", "3"], "--seconds belongs to --check: give both, or neither"),
        (
            ["--check", "--seconds", "0"],
            "--seconds must be above zero, such as '3 s', not 0.0 (see pyprof env --help)",
        ),
        (
            ["--check", "--seconds", "nan"],
            "--seconds: 'nan' is not a duration: write 90 s, 8 min or 2 h (see pyprof env --help)",
        ),
        (["--pin", "a"], "--pin takes processors such as 0,2-3 or the word auto, not 'a'"),
    ],
)
def test_wrong_use_is_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["env", *arguments]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"pyprof: {words}\n")


@pytest.mark.parametrize(
    ("command", "threads"),
    [
        (["profile", "bert"], None),
        (["study", "quick", "--threads", "3"], 3),
        (["study", "quick", "--dry-run"], None),
        (["env"], None),
    ],
)
def test_commands_pin_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str], threads: int | None
) -> None:
    asked = []

    def apply(text: str | None, threads: int | None = None) -> str | None:
        asked.append((text, threads))
        raise UsageError("that is enough")

    monkeypatch.setattr(pin, "apply", apply)
    assert main([*command, "--pin", "0,2-3"]) == 2
    assert asked == [("0,2-3", threads)]
    assert capsys.readouterr().err == "pyprof: that is enough\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_a_pinned_run_records_it(tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    command = ["study", "quick", "--size", "tiny", "--models", "bert", "--lengths", "32", "--modes", "infer"]
    options = ["--metrics", "latency", "--attention", "then", "--pin", core, "-o", str(tmp_path / "run")]
    program = [sys.executable, "-m", "pyprof", *command, *options]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert (environment["pinned"], environment["cores"], environment["threads"]) == (core, 1, 1)

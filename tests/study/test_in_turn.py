"""One study of two states of the code, in processes that take turns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from pyprof.errors import ExitCode, UsageError
from pyprof.records.run_directory import Run, read
from pyprof.study.in_turn import Code, RunFailed, measure_in_turn

STUDY = """\
name = "speed"
metrics = ["latency", "parameters"]
modes = ["infer"]
device = "cpu"

[measure]
precision = 0.001
min_samples = 12
max_samples = {samples}
max_seconds = "{seconds} s"

[[comparison]]
vanilla = "of_two:model"
lengths = [16, 32]
"""
MODEL = """\
import os, torch
def model():
    module = torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range({layers})))
    return module, lambda length, batch: (torch.randn(batch, length, 64),)
"""


def checkouts(folder: Path, head: str = MODEL.format(layers=8)) -> dict[str, Code]:
    for name, text in (("base", MODEL.format(layers=8)), ("head", head)):
        (folder / name).mkdir()
        (folder / name / "of_two.py").write_text(text)
    return {name: Code(folder / name) for name in ("base", "head")}


def a_study(folder: Path, samples: int = 20, seconds: float = 2.0) -> str:
    path = folder / "speed.toml"
    path.write_text(STUDY.format(samples=samples, seconds=seconds))
    return str(path)


def ends(run: Run) -> dict[int, list[int]]:
    """When the rounds of each length had ended."""
    found = {}
    for record in run.records.values():
        rounds = record.indicators["latency"].rounds
        assert rounds is not None
        assert len(rounds.ended) == len(record.indicators["latency"].samples) == len(rounds.yardstick)
        found[record.case.length] = list(rounds.ended)
    return found


@pytest.mark.slow
def test_both_runs_are_whole_and_their_rounds_alternate(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    codes = checkouts(tmp_path, MODEL.format(layers=9))
    runs = measure_in_turn(a_study(tmp_path), codes, tmp_path / "out", progress=lambda *said: told.append(said))
    assert list(runs) == ["base", "head"]
    assert {name for name, _ in told} == {"base", "head"}
    base, head = (ends(run) for run in runs.values())
    assert base.keys() == head.keys() == {16, 32}
    for length in (16, 32):
        timeline = sorted([(at, "base") for at in base[length]] + [(at, "head") for at in head[length]])
        changes = sum(one[1] != other[1] for one, other in pairwise(timeline))
        assert changes >= 0.8 * (len(timeline) - 1)
    # Each imported its own code.
    counts = [{record.indicators["parameters"].value for record in run.records.values()} for run in runs.values()]
    assert counts == [{8 * 65 * 64}, {9 * 65 * 64}]
    assert runs["base"].environment.fingerprint == runs["head"].environment.fingerprint
    assert runs["base"].environment.cores == len(os.sched_getaffinity(0))


@pytest.mark.slow
def test_a_code_that_fails_is_a_case_that_fails_and_the_other_run_is_whole(tmp_path: Path) -> None:
    codes = checkouts(tmp_path, "def model():\n    raise ValueError('not today')\n")
    runs = measure_in_turn(a_study(tmp_path), codes, tmp_path / "out")
    assert {record.status for record in runs["base"].records.values()} == {"ok"}
    assert {record.status for record in runs["head"].records.values()} == {"error"}


@pytest.mark.slow
def test_a_run_that_ends_early_stops_the_other_and_its_message_is_told(tmp_path: Path) -> None:
    codes = checkouts(tmp_path)
    (tmp_path / "out" / "head").mkdir(parents=True)
    (tmp_path / "out" / "head" / "notes.txt").write_text("mine")
    with pytest.raises(RunFailed, match=r"^head: .*out/head") as raised:
        measure_in_turn(a_study(tmp_path, samples=10_000, seconds=600), codes, tmp_path / "out")
    assert raised.value.exit_code == ExitCode.WRONG_USE


@pytest.mark.slow
def test_ctrl_c_stops_both_keeps_what_is_measured_and_resumes(tmp_path: Path) -> None:
    codes = checkouts(tmp_path)
    study, out = a_study(tmp_path), tmp_path / "out"
    arguments = ["--base", str(codes["base"].folder), "--head", str(codes["head"].folder), "-o", str(out)]
    command = [sys.executable, "-m", "pyprof", "gate", study, *arguments, "--fail-over", "900%"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert process.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in said
    assert any(record.status == "ok" for name in codes for record in read(out / name).records.values())
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=300)
    assert resumed.returncode in (ExitCode.DONE, ExitCode.UNJUDGEABLE), resumed.stderr
    assert {len(read(out / name).records) for name in codes} == {2}


STOPPED = """
import sys
from pathlib import Path
from pyprof.study import in_turn

run = "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(600)"
in_turn._command = lambda *_: [sys.executable, "-c", run]
codes = {name: in_turn.Code(Path(".")) for name in ("base", "head")}
in_turn.measure_in_turn("quick", codes, Path(sys.argv[1]), progress=lambda name, line: print(line, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_gate_ends_its_runs(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    runs = [int(process.stdout.readline()) for _ in range(2)]
    process.send_signal(number)
    assert process.wait(timeout=30) != 0
    for run in runs:
        with pytest.raises(ProcessLookupError):
            os.kill(run, 0)


def test_what_two_runs_say_is_told_one_line_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = "import sys\nfor i in range(50): print(i, file=sys.stderr, flush=True)\nsys.exit(9)"
    monkeypatch.setattr("pyprof.study.in_turn._command", lambda *_: [sys.executable, "-c", run])
    inside: list[str] = []
    told: list[int] = []

    def progress(name: str, line: str) -> None:
        inside.append(name)
        time.sleep(0.002)
        told.append(len(inside))
        inside.remove(name)

    codes = {name: Code(tmp_path) for name in ("base", "head")}
    with pytest.raises(RunFailed):
        measure_in_turn("quick", codes, tmp_path / "out", progress=progress)
    assert len(told) >= 50
    assert set(told) == {1}


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    codes = {"base": Code(tmp_path), "head": Code(tmp_path / "absent")}
    with pytest.raises(UsageError, match=r"^the code of head is not there: check the folder "):
        measure_in_turn("quick", codes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_imports_and_threads_of_a_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("OMP_PROC_BIND", "false")
    monkeypatch.delenv("OMP_PLACES", raising=False)
    environment = Code(tmp_path, {"FLAG": "on"}).environment()
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(tmp_path), "/elsewhere"]
    # What the user has set stays.
    assert (environment["OMP_PROC_BIND"], environment["OMP_PLACES"], environment["FLAG"]) == ("false", "threads", "on")

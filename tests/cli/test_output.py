"""What stands at the other end of standard output: a full disk, a reader that leaves, nothing, an old encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from pyprof.cli.main import main

STORED = Path(__file__).parents[1] / "stored_runs" / "schema1.tgz"
# Neither Python's own way out of a POSIX locale, nor a terminal's.
POSIX = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "100"}
SLOWER = """
import sys
from pyprof.cli import compare_runs
from pyprof.errors import GateError
def fails(*_):
    for _ in range(20_000):
        print("a line of a report")
    raise GateError("the gate is not passed")
compare_runs.run = fails
from pyprof.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stored")
    with tarfile.open(STORED) as archive:
        archive.extractall(directory, filter="data")
    return directory / "fixed"


def pyprof(*arguments, program=("-m", "pyprof"), environment=(), **streams):
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **dict(environment)}, timeout=120, **given)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("arguments", [("report",), ("report", "--json"), ("compare", "--markdown"), ("--help",)])
def test_a_full_device_is_one_sentence_and_exit_code_3(run, arguments):
    runs = {"report": [run], "compare": [run, run]}.get(arguments[0], [])
    with Path("/dev/full").open("wb") as full:
        done = pyprof(*arguments, *runs, stdout=full)
    assert done.returncode == 3
    message = "standard output cannot be written (No space left on device): make room, or write it elsewhere"
    assert done.stderr.decode() == f"pyprof: {message}\n"


def test_messages_that_cannot_be_written_change_nothing(run):
    with Path("/dev/full").open("wb") as full:
        assert pyprof("report", "no/such/run", stderr=full).returncode == 2
        assert pyprof("report", run, stderr=full).returncode == 0


def test_a_gate_fails_whoever_has_stopped_reading(run):
    """`pyprof compare A B --fail-over 3% | head -1` under pipefail must not pass."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = pyprof("compare", run, run, program=("-c", SLOWER), stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr.decode()) == (1, "pyprof: the gate is not passed\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_none_of_our_business(run, closed):
    for arguments in (f"report {run}", f"report {run} --json", "--help"):
        done = subprocess.run(["sh", "-c", f"{sys.executable} -m pyprof {arguments} {closed}"], capture_output=True)
        assert done.returncode == 0
        assert done.stderr == b""


@pytest.mark.parametrize("command", ["report", "compare", "compare --markdown", "study"])
def test_a_posix_locale_gets_letters_that_it_has(run, command):
    name, *flags = command.split()
    operands = {"report": [run], "compare": [run, run], "study": [run / "study.toml", "--dry-run"]}[name]
    done = pyprof(name, *operands, *flags, environment=POSIX)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode("ascii")
    assert len(text) > 300
    assert "\\x" not in text
    assert "\\u" not in text


def test_a_posix_locale_gets_the_same_document(run):
    plain, posix = (pyprof("report", run, "--json", environment=given) for given in ((), POSIX))
    assert json.loads(posix.stdout.decode("ascii")) == json.loads(plain.stdout)


@pytest.mark.parametrize("columns", ["0", "1", "-5", "abc", "", "9" * 5000, "²", "100000"])
def test_whatever_the_terminal_says_of_its_width_a_report_is_printed(run, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    for arguments in (["report", str(run)], ["--help"], ["profile", "--help"]):
        assert main(arguments) == 0
        assert len(capsys.readouterr().out) > 500


def test_names_that_are_no_text_are_written_out(run, tmp_path):
    odd = os.fsencode(tmp_path) + b"/n\xffr"
    os.mkdir(odd)
    for environment in ((), POSIX):
        done = pyprof("report", os.fsdecode(odd), environment=environment)
        assert done.returncode == 2
        assert rb"n\udcffr holds no run" in done.stderr


def test_a_defect_is_one_sentence_and_never_exit_code_1(capsys, monkeypatch):
    def broken(*_):
        raise KeyError("spam")

    monkeypatch.setattr("pyprof.records.run_directory.read", broken)
    assert main(["report", "anywhere"]) == 70
    assert capsys.readouterr().err.startswith("pyprof: a defect of pyprof: KeyError: 'spam' (with PYPROF_TRACEBACK=1")
    monkeypatch.setenv("PYPROF_TRACEBACK", "1")
    assert main(["report", "anywhere"]) == 70
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (SystemExit("a reason"), 70, "sys.exit(a reason) was called"),
        (SystemExit(1), 70, "sys.exit(1) was called"),
        (MemoryError(), 3, "out of memory"),
        (OSError(28, "No space left on device", "a file"), 3, "'a file' cannot be used (No space left on device)"),
        (PermissionError(13, "Permission denied", "a\x1bfile"), 2, r"'a\x1bfile' cannot be used (Permission denied)"),
        (RecursionError("deep"), 70, "RecursionError: deep"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_whatever_is_raised_has_its_exit_code(capsys, monkeypatch, error, code, words):
    def broken(*_):
        raise error

    monkeypatch.setattr("pyprof.records.run_directory.read", broken)
    assert main(["report", "anywhere"]) == code
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1

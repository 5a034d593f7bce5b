"""The command line in one process: help, errors in one sentence, exit codes, JSON. Models are tiny or fakes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyprof.cli.main import build_parser, main


def run(capsys, *arguments):
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse's own errors
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small real run."""
    directory = tmp_path_factory.mktemp("runs") / "small"
    command = [
        "study",
        "quick",
        "--size",
        "tiny",
        "--models",
        "bert,nystromformer",
        "--lengths",
        "32,64",
        "--in-process",
    ]
    command += ["--modes", "infer", "--metrics", "latency,parameters", "--attention", "then", "--threads", "1"]
    program = [sys.executable, "-m", "pyprof", *command, "-o", str(directory), "--json"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return directory, done


@pytest.mark.parametrize("command", ["study", "report", "profile", "compare", "overhead", "attention", "models", "env"])
def test_every_command_teaches_itself(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"pyprof {command}" in out
    assert "--json" in out


@pytest.mark.parametrize("command", ["profile", "compare", "overhead", "attention", "models", "env"])
def test_help_fits_a_terminal_of_eighty_columns(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run(capsys, command, "--help")
    assert max(map(len, out.splitlines())) <= 80


def test_help_lists_examples_and_exit_codes(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for word in (
        "study",
        "report",
        "profile",
        "compare",
        "overhead",
        "attention",
        "models",
        "env",
        "exit codes",
        "130",
    ):
        assert word in out


def test_help_is_quick():
    # What the processor spent on it: how long that takes is also up to what else the machine does.
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "pyprof", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(times) < 0.3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("profile", "brt"), ("brt", "bert")),
        (("profile", "bert", "--length", "-3"), ("at least 1",)),
        (("profile", "bert", "--size", "tiny", "--attention", "flash"), ("flash", "choose from")),
        (("profile", "bert", "--size", "tiny", "--length", "900000"), ("131072", "900000")),
        (("profile", "no_such_module:factory"), ("no_such_module",)),
        (("study", "quik"), ("quik", "quick")),
        (("study", "quick", "--models", "brt"), ("brt", "bert")),
        (("study", "quick", "--metrics", "latncy"), ("latncy", "latency")),
        (("study", "quick", "--modes", "inference"), ("inference", "infer")),
        (("study", "quick", "--lengths", "64:32:-4"), ("step", "-4")),
        (("study", "quick", "--lengths", "64:32:4"), ("stop", "32")),
        (("study", "quick", "--lengths", "many"), ("128:2048:64",)),
        (("study", "quick", "--lengths", "16", "--models", "vit"), ("16", "32")),
        (("study", "quick", "--weights", "bert"), ("MODEL=PATH",)),
        (("study", "quick", "--time-budget", "soon"), ("soon",)),
        (("report", "no/such/run"), ("no/such/run", "-o")),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("pyprof: ")
    assert len(err.strip().splitlines()) == 1
    assert all(word in err for word in words), err
    assert not list(tmp_path.rglob("records.jsonl"))


def test_json_is_one_document_and_progress_is_elsewhere(finished):
    directory, done = finished
    document = json.loads(done.stdout)
    assert document["study"] == "quick"
    assert str(directory) in done.stderr
    assert "left]" in done.stderr


def test_a_report_can_be_printed_again_also_after_a_crash(capsys, finished, tmp_path):
    directory, done = finished
    code, out, err = run(capsys, "report", directory, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(done.stdout)
    torn = tmp_path / "torn"
    torn.mkdir()
    for name in ("study.toml", "environment.json", "records.jsonl"):
        (torn / name).write_bytes((directory / name).read_bytes())
    lines = (torn / "records.jsonl").read_bytes()
    (torn / "records.jsonl").write_bytes(lines[:-40])
    code, out, err = run(capsys, "report", torn)
    assert code == 0
    assert "warning" in out
    assert "bert" in out


def test_a_run_is_not_overwritten(capsys, finished):
    directory, _ = finished
    code, _, err = run(capsys, "study", "quick", "--size", "tiny", "-o", directory)
    assert code == 2
    assert "--resume" in err


def test_a_dry_run_measures_nothing(capsys, tmp_path):
    code, out, _ = run(capsys, "study", "quick", "--dry-run", "--json", "-o", tmp_path / "none")
    document = json.loads(out)
    assert code == 0
    assert {case["model"] for case in document["cases"]} >= {"bert", "swin", "l-hubert"}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_profile_takes_rules_for_kinds(capsys, mode):
    command = ["profile", "bert", "--size", "tiny", "--length", "16", "--seconds", "0.05", "--mode", mode, "--json"]
    code, out, _ = run(capsys, *command, "--kind", r"encoder\.layer\.0\.output=my own", "--kind", "pooler = embedding")
    layers = json.loads(out)["layers"]
    kinds = {path.removeprefix("model."): kind for path, kind in zip(layers["path"], layers["kind"], strict=True)}
    assert code == 0
    assert kinds["encoder.layer.0.output.dense"] == "my own"
    assert kinds["pooler.dense"] == "embedding"
    assert kinds["encoder.layer.1.output.dense"] == "feedforward"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("pooler", "--kind takes REGEX=KIND"),
        ("=head", "--kind takes REGEX=KIND"),
        ("pooler(=head", "no regular expression"),
        ("pooler=haed", "did you mean 'head'?"),
        ("pooler=", "cannot be a kind"),
    ],
)
def test_a_wrong_rule_for_kinds_is_wrong_use(capsys, rule, message):
    code, _, err = run(capsys, "profile", "bert", "--size", "tiny", "--kind", rule)
    assert code == 2
    assert message in err


def test_profile_shows_layers_and_gives_json(capsys):
    code, out, _ = run(
        capsys, "profile", "bert", "--size", "tiny", "--length", "16", "--seconds", "0.05", "--mode", "train"
    )
    assert code == 0
    for word in ("embeddings", "attention", "profiling overhead: a step is "):
        assert word in out
    code, out, _ = run(capsys, "profile", "vit", "--size", "tiny", "--length", "32", "--seconds", "0.05", "--json")
    document = json.loads(out)
    layers = document["layers"]
    own = sum(layers["own_forward_seconds"]) + document["outside_seconds"]
    assert own == pytest.approx(document["step_seconds"], rel=0.02, abs=1e-5)
    plain = document["plain"]
    assert len(plain["samples"]) == plain["pairs"] > 0
    assert plain["step"]["value"] > 0 < plain["ratio"]["value"]


@pytest.mark.parametrize("width", [80, 140])
def test_models_are_listed_in_whole_words_whatever_the_terminals_width(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = run(capsys, "models")
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= width
    for words in ("zoo-synthesizer-factorised", "low rank / kernel", "sparse and conditional", "sdpa, eager"):
        assert any(words in line for line in lines), words


def test_models_and_env_give_json(capsys):
    code, out, _ = run(capsys, "models", "--json")
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert found["longformer"]["vanilla"] == "bert"
    assert found["bert"]["parameters"] == 109_482_240
    code, out, _ = run(capsys, "env", "--json")
    assert code == 0
    assert len(json.loads(out)["fingerprint"]) == 16


def test_interrupting_ends_in_130(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyprof.records.run_directory.read", interrupt)
    code, _, err = run(capsys, "report", Path("anywhere"))
    assert code == 130
    assert "interrupted" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_asked_to_end_is_an_interruption_also_where_ctrl_c_is_ignored(capsys, monkeypatch, number):
    def ask(*_):
        os.kill(os.getpid(), number)
        time.sleep(5)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(number)
    try:
        monkeypatch.setattr("pyprof.records.run_directory.read", ask)
        code, _, err = run(capsys, "report", Path("anywhere"))
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert code == 130
    assert "interrupted" in err
    assert signal.getsignal(number) == before[1]


def test_a_signal_that_is_ignored_stays_ignored(capsys, monkeypatch, finished):
    directory, _ = finished
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr("pyprof.cli.report._run", lambda options: os.kill(os.getpid(), signal.SIGHUP) or 0)
        assert run(capsys, "report", directory)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_pipe_is_no_error(finished):
    directory, _ = finished
    command = f"{sys.executable} -m pyprof report {directory} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


def test_the_parser_is_complete():
    assert build_parser().parse_args(["study", "--resume", "-o", "x"]).resume

"""A model that prints, raises or ends the program: one sentence, the right exit code, and one document on standard
output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyprof.cli.main import main

WORKLOAD = Path(__file__).parents[1] / "worker"
SHORT = ("--length", "4")
COMMANDS = {
    "profile": lambda name: ("profile", name, *SHORT, "--seconds", "0.05"),
    "compare": lambda name: ("compare", "workload:quiet", name, *SHORT, "--seconds", "0.2"),
    "compare-first": lambda name: ("compare", name, "workload:quiet", *SHORT, "--seconds", "0.2"),
    "overhead": lambda name: ("overhead", name, *SHORT, "--seconds", "0.5", "--tools", "pyprof"),
}
STUDY = """
name = "misbehaving"
metrics = ["latency"]
measure = { min_samples = 6, max_samples = 6, max_seconds = 0.5 }
threads = 1
device = "cpu"
modes = ["infer"]
[[comparison]]
vanilla = "workload:quiet"
variants = ["workload:%s"]
lengths = [4]
implementations = ["now"]
"""


@dataclass(frozen=True)
class Done:
    """What a command ended in and printed, to the file descriptors."""

    code: int
    out: str
    err: str

    @property
    def sentence(self):
        """What pyprof said, which has to be one line."""
        [line] = [line for line in self.err.splitlines() if line.startswith("pyprof: ")]
        return line


@pytest.fixture
def pyprof(capfd, monkeypatch):
    """Runs a command in this process and in the folder of the models; an exception that passes would fail the test."""
    monkeypatch.chdir(WORKLOAD)
    monkeypatch.syspath_prepend(WORKLOAD)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return Done(code, *capfd.readouterr())

    return run


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raising", "ValueError: a first line"),
        ("leaving", "the factory workload:leaving failed: sys.exit(0) was called"),
        ("leaving_late", "sys.exit(0) was called"),
        ("failing_to_build", "the factory workload:failing_to_build failed: KeyError: 'weights'"),
    ],
)
def test_a_model_that_fails_is_one_sentence_and_exit_code_3(pyprof, command, name, words):
    done = pyprof(*COMMANDS[command](f"workload:{name}"))
    assert done.code == 3
    assert done.out == ""
    assert words in done.sentence
    assert f"workload:{name}" in done.sentence


def test_a_model_that_fails_later_or_in_backward_is_one_sentence_too(pyprof):
    for command in ("profile", "overhead", "compare"):
        for name, mode in (("failing_later", "infer"), ("failing_in_backward", "train")):
            done = pyprof(*COMMANDS[command](f"workload:{name}"), "--mode", mode)
            assert (done.code, done.out) == (3, ""), (command, name, done.err)
            assert f"workload:{name}" in done.sentence


def test_a_module_that_ends_the_program_when_it_is_imported_is_wrong_use(pyprof, tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text("import sys\ndef main(): pass\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = pyprof("profile", "script:main")
    assert (done.code, done.out) == (2, "")
    assert done.sentence == "pyprof: script cannot be imported for the factory script:main: sys.exit(0) was called"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("inputs", "code", "words"),
    [
        ("given", 0, ""),
        ("a_tensor", 2, "the input maker workload:a_tensor returned Tensor: return a dict"),
        ("for_a_length", 2, "workload:for_a_length cannot be called as function(length, batch)"),
        ("no_function", 2, "workload has no function 'no_function': check the input maker workload:no_function"),
        ("no_inputs", 3, "the input maker workload:no_inputs failed for length 4 and batch 1: KeyError: 'nothing'"),
    ],
)
def test_inputs_for_a_module_that_comes_alone(pyprof, command, inputs, code, words):
    done = pyprof(*COMMANDS[command]("workload:alone"), "--inputs", f"workload:{inputs}", "--json")
    assert done.code == code, done.err
    if code:
        assert done.out == ""
        assert words in done.sentence
    else:
        assert json.loads(done.out)["inputs"] == "workload:given"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["caching", "listing"])
def test_a_cache_does_not_grow_from_step_to_step(pyprof, command, name):
    import workload

    workload.HELD.clear()
    assert pyprof(*COMMANDS[command](f"workload:{name}")).code == 0
    assert len(workload.HELD) > 10
    assert set(workload.HELD) == {1}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_cache_that_cannot_be_copied_is_noted(pyprof, command):
    done = pyprof(*COMMANDS[command]("workload:clinging"), "--json")
    assert done.code == 0, done.err
    assert "an input of type Uncopyable cannot be copied (there is one of it)" in done.out


def test_inputs_are_for_factories(pyprof):
    size = ("--size", "tiny", "--inputs", "workload:given", *SHORT)
    for words in (("profile", "bert"), ("overhead", "bert"), ("compare", "bert", "longformer")):
        done = pyprof(*words, *size)
        assert (done.code, done.out) == (2, "")
        assert "inputs can be given for a factory only, and bert is none: leave them out" in done.sentence


def test_an_interruption_stays_one(pyprof):
    done = pyprof(*COMMANDS["profile"]("workload:interrupting"))
    assert (done.code, done.out, done.sentence) == (130, "", "pyprof: interrupted")


@pytest.mark.parametrize("command", ["profile", "compare", "overhead"])
def test_what_a_model_prints_goes_to_standard_error(pyprof, command):
    done = pyprof(*COMMANDS[command]("workload:printing"), "--json")
    assert done.code == 0, done.err
    assert isinstance(json.loads(done.out), dict)
    for words in ("the factory", "the forward", "the descriptor", "C", "a child"):
        assert f"from {words}\n" in done.err
    assert "past the redirection\n" in done.err


@pytest.mark.parametrize("in_process", [True, False])
def test_a_study_goes_on_beside_a_model_that_prints_or_leaves(pyprof, tmp_path, in_process):
    # A process of its own takes seconds to start; which of its models end in an error is shown in this one.
    models = [("printing", 0), ("leaving", 3), ("leaving_late", 3), ("asking", 3)]
    for name, code in models if in_process else models[-1:]:
        study = tmp_path / f"{name}.toml"
        study.write_text(STUDY % name)
        where = ("-o", str(tmp_path / name), "--json", *["--in-process"] * in_process)
        done = pyprof("study", str(study), *where)
        assert done.code == code, done.err
        json.loads(done.out)
        records = [json.loads(line) for line in (tmp_path / name / "records.jsonl").read_text().splitlines()]
        status = {record["case"]["model"]: record["status"] for record in records if "case" in record}
        assert status == {"workload:quiet": "ok", f"workload:{name}": "error" if code else "ok"}


def test_a_kernel_that_prints_does_not_break_the_document(pyprof, tmp_path, monkeypatch):
    (tmp_path / "kernels.py").write_text(
        "from pyprof import window_attention\n"
        "print('imported')\n"
        "def loud(query, key, value, window):\n"
        "    print('called')\n"
        "    return window_attention(query, key, value, window=window)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = {"--impl": "kernels:loud", "--lengths": "32", "--windows": "4", "--modes": "forward", "--seconds": "0.1"}
    arguments = [word for option in options.items() for word in option]
    done = pyprof("attention", *arguments, "--impls", "sdpa", "--json")
    assert isinstance(json.loads(done.out), dict)
    assert "imported\n" in done.err
    assert "called\n" in done.err


def test_nothing_but_the_document_is_on_standard_output_of_a_process_of_its_own():
    command = [sys.executable, "-m", "pyprof", *COMMANDS["profile"]("workload:printing"), "--json"]
    done = subprocess.run(command, cwd=WORKLOAD, capture_output=True, text=True, timeout=300)
    assert (done.returncode, json.loads(done.stdout)["model"]) == (0, "workload:printing")

"""The trial of Hopper's kernels: what its process says, what is kept of it, and what is done where it says nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings

import pytest
import torch
from rich.console import Console

from pyprof.ops import trial, trial_cases
from pyprof.report import attention_choices

CARD = "NVIDIA H100"
GOOD = json.dumps({"passed": True, "reason": "", "lasting": True})
BAD = json.dumps({"passed": False, "reason": "they are wrong on it", "lasting": True})


class Child:
    """Stands for the process that tries the kernels: does what it is told, and counts how often."""

    def __init__(self, code: str) -> None:
        self.code, self.runs, self.environment = code, 0, {}

    def __call__(self, command, env, timeout, **options):
        self.runs += 1
        self.environment = env
        return self.real([sys.executable, "-c", self.code], env=env, timeout=timeout, **options)

    real = staticmethod(subprocess.run)


@pytest.fixture
def child(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(trial, "_verdicts", {})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: CARD)

    def made(code):
        one = Child(code)
        monkeypatch.setattr(subprocess, "run", one)
        return one

    return made


def says(*lines):
    return ";".join(f"print({line!r}, flush=True)" for line in lines)


def ask(device=0):
    """The verdict, and the warning that came with it."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        passed = trial.passed(device)
    return passed, "".join(str(one.message) for one in seen)


def anew():
    """As another process would begin."""
    trial._verdicts.clear()


def test_a_card_is_tried_once_and_the_verdict_kept(child, capfd):
    one = child(says("checking", GOOD))
    assert ask() == (True, "")
    assert ask() == (True, "")
    anew()
    assert ask(1) == (True, "")  # another card of the same name
    assert one.runs == 1
    assert one.environment["PYPROF_CUDA_KERNELS"] == "hopper"
    assert capfd.readouterr().err == f"pyprof: tries Hopper's window-attention kernels on {CARD}, once\n"


def test_a_profiler_does_not_see_the_trial(child, monkeypatch):
    monkeypatch.setenv("CUDA_INJECTION64_PATH", "somewhere")
    one = child(says("checking", GOOD))
    ask()
    assert "CUDA_INJECTION64_PATH" not in one.environment


def test_another_card_and_another_build_are_tried_anew(child, monkeypatch, tmp_path):
    one = child(says("checking", GOOD))
    ask()
    anew()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    ask()
    anew()
    library = tmp_path / "library.so"
    library.write_bytes(b"another build")

    class Spec:
        origin = str(library)

    monkeypatch.setattr(trial.importlib.util, "find_spec", lambda name: Spec)
    ask()
    assert one.runs == 3


@pytest.mark.parametrize(
    ("code", "words", "lasting"),
    [
        (says("checking", BAD), "they are wrong on it; this is kept", True),
        (says("checking") + ";import os;os.abort()", "their trial broke off (exit code -6", True),
        (
            says("checking") + ";raise SystemExit('an illegal address')",
            "broke off (exit code 1: an illegal address)",
            True,
        ),
        ("raise SystemExit('no driver')", "could not be tried (exit code 1: no driver). ", False),
        (says("checking", "[1, 2]"), "broke off (exit code 0: without a word)", True),
        (says("checking") + ";import time;time.sleep(60)", "their trial did not end within 2 s; this is kept", True),
        ("import time;time.sleep(60)", "their trial did not end within 2 s. ", False),
    ],
)
def test_what_goes_wrong_is_a_warning_and_the_kernels_for_every_card(child, monkeypatch, code, words, lasting):
    monkeypatch.setattr(trial, "SECONDS", 2.0)
    one = child(code)
    passed, said = ask()
    assert not passed
    assert words in said
    assert said.startswith(f"window attention on {CARD} runs without Hopper's own kernels: ")
    assert ask() == (False, "")  # once a process
    anew()
    passed, again = ask()
    assert not passed
    assert again == said
    assert one.runs == (1 if lasting else 2)


def test_what_is_no_verdict_is_tried_anew(child, tmp_path):
    one = child(says("checking", GOOD))
    ask()
    (kept,) = tmp_path.rglob("*.json")
    for spoiled in ("", "[]", "{}"):
        kept.write_text(spoiled)
        anew()
        assert ask() == (True, "")
    assert one.runs == 4


def test_where_nothing_can_be_kept_each_process_has_its_own(child, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    one = child(says("checking", GOOD))
    assert ask() == (True, "")
    anew()
    assert ask() == (True, "")
    assert one.runs == 2


def test_threads_that_ask_at_once_wait_for_one_trial(child):
    one = child("import time;time.sleep(0.3);" + says("checking", GOOD))
    found = []
    threads = [threading.Thread(target=lambda: found.append(trial.passed(0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, one.runs) == ([True] * 4, 1)


def test_the_process_itself_passes_kernels_that_are_right(monkeypatch, capsys):
    few = [case for case in trial_cases.CASES if case.sizes[0] * case.sizes[3] <= 300]
    assert len(few) >= 4
    monkeypatch.setattr(trial_cases, "CASES", few)
    monkeypatch.setattr(trial_cases.check, "__defaults__", (1,))
    assert trial.main("cpu").passed
    first, last = capsys.readouterr().out.splitlines()
    assert first == "checking"
    assert json.loads(last)["passed"] is True


def test_the_process_itself_finds_a_wrong_window_and_nan(monkeypatch):
    right = trial_cases.window_attention
    monkeypatch.setattr(trial_cases, "CASES", trial_cases.CASES[:1])
    for wrong in (
        lambda query, key, value, window, lengths: right(query, key, value, (window[0] - 1, window[1]), lengths),
        lambda query, key, value, window, lengths: right(query, key, value, window, lengths) * torch.nan,
    ):
        monkeypatch.setattr(trial_cases, "window_attention", wrong)
        verdict = trial.main("cpu")
        assert not verdict.passed
        assert verdict.lasting
        assert "they are wrong on it (problem (16, 16)" in verdict.reason


def test_too_little_memory_says_nothing_of_the_kernels(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(trial_cases, "check", full)
    verdict = trial.main("cpu")
    assert (verdict.passed, verdict.lasting) == (False, False)


def test_blocks_of_keys_outnumber_the_multiprocessors_in_some_cases():
    for head_dim in (64, 128):
        blocks = [
            batch * key_heads * ((length + 127) // 128)
            for batch, _, key_heads, length, size in (case.sizes for case in trial_cases.CASES)
            if size == head_dim
        ]
        assert max(blocks) > 132  # of an H100


def test_the_table_tells_the_verdict(child, monkeypatch, capsys):
    child(says("checking", BAD))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))

    def told():
        console = Console(width=200)
        attention_choices.write((), trial.cards(), console)
        return capsys.readouterr().out.splitlines()[-1].strip()

    assert told() == f"{CARD}: Hopper's kernels have not been tried on it with this build"
    ask()
    assert told() == f"{CARD}: Hopper's kernels are not taken: they are wrong on it"
    assert len(trial.cards()) == 1

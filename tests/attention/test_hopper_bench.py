"""bench/hopper.py as far as it goes without a card: its checks on the host's kernels, its bars, its words."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyprof.ops import trial_cases

SCRIPT = Path(__file__).parents[2] / "bench" / "hopper.py"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        spec = importlib.util.spec_from_file_location("hopper_bench", SCRIPT)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["hopper_bench"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SCRIPT.parent))
        sys.modules.pop("hopper_bench", None)


def test_its_checks_hold_for_kernels_that_are_right(bench):
    cases = [case for case in bench.CASES if case.sizes[3] <= 200 and case.sizes[4] == 64]
    assert len(cases) >= 3
    figures, bars = bench.checks("cpu", cases, 1)
    assert len(figures.rows) == 2 * len(cases)
    assert all(bar.holds for bar in bars)


def test_its_checks_find_a_wrong_window(bench, monkeypatch):
    def wrong(query, key, value, window, lengths):
        return right(query, key, value, (window[0], window[1] + 1), lengths)

    right = trial_cases.window_attention
    monkeypatch.setattr(trial_cases, "window_attention", wrong)
    _, bars = bench.checks("cpu", bench.CASES[:1], 1)
    assert [bar.holds for bar in bars] == [False, True]


def test_its_checks_find_other_bits(bench, monkeypatch):
    right, count = trial_cases.window_attention, iter(range(100))
    changed = lambda *arguments: right(*arguments) * (1 + next(count) % 2 * 0.01)  # noqa: E731
    monkeypatch.setattr(trial_cases, "window_attention", changed)
    _, bars = bench.checks("cpu", bench.CASES[:1], 3)
    assert not bars[1].holds


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_card_it_says_so():
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "there is no device of compute capability 9.0 that this PyTorch can use: run this on a Hopper"
    )

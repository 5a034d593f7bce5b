"""bench/attention_cuda.py as far as it goes without a card: its limits, its bars, which kernels it asks for."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("attention_cuda", BENCH / "attention_cuda.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "attention_cuda", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("length", "side"), [(7, 2), (5, 4), (3, 100)])
def test_the_limits_are_of_the_pairs_that_are_seen(bench, length, side):
    shape = bench.Shape(2, 3, length, 64, side)
    pairs = 6 * sum(abs(i - j) <= side for i in range(length) for j in range(length))
    for backward, tensors, flops in ((False, 4, 4), (True, 8, 10)):
        of_bytes, of_flops = shape.limits(backward)
        assert of_bytes == pytest.approx(tensors * 6 * length * 64 * 2 / 3e12 * 1e6)
        assert of_flops == pytest.approx(flops * 64 * pairs / 800e12 * 1e6)


def test_the_limits_are_those_that_the_prototypes_were_judged_by(bench):
    by_name = {shape.name: shape for shape in bench.SHAPES}
    assert len(by_name) == 12
    for name, backward, limits in (
        ("1, 12, 2500, 64, 16", False, (5.1, 0.3)),
        ("8, 12, 2500, 64, 50", True, (82, 19)),
        ("1, 32, 16384, 128, 1024", False, (179, 666)),
        ("1, 32, 65536, 128, 512", True, (1432, 3426)),
    ):
        assert by_name[name].limits(backward) == pytest.approx(limits, rel=0.06)


def row(direction="forward", hopper=10.0, mma=13.0, one_pass=None, flash=12.0, newest=None, prototype=9.6):
    return ("1, 12", direction, 1.0, 1.0, hopper, mma, one_pass, flash, newest, prototype)


def test_its_bars_are_both_flashes_and_the_prototype(bench):
    assert [bar.holds for bar in bench.bars_of([row()])] == [True, True]
    assert [bar.holds for bar in bench.bars_of([row(newest=9.9, prototype=9.5)])] == [False, False]
    assert bench.bars_of([row(hopper=None)]) == bench.bars_of([row(flash=None, prototype=None)]) == []


def test_a_peer_that_fails_costs_its_own_figure_only(bench, monkeypatch):
    def microseconds(made, seconds, stream):
        return float(len(made))

    class Stream:
        pass

    monkeypatch.setattr(bench, "_microseconds", microseconds)
    monkeypatch.setattr(bench, "_calls", lambda shape, kernel, backward: ask(kernel))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    asked = []

    def ask(kernel):
        asked.append((kernel, os.environ.get("PYPROF_CUDA_KERNELS")))
        if kernel == "FlashAttention-4":
            raise ModuleNotFoundError("No module named 'flash_attn'")
        return [print] * 3

    rows = bench.measured(0.1, [bench.Shape(1, 2, 300, 64, 128), bench.Shape(1, 2, 300, 64, 16)])
    assert all(row[bench.COLUMNS.index("hopper")] is None for row in rows)
    assert all(row[bench.COLUMNS.index("FlashAttention-4")] is None for row in rows)
    assert all(row[bench.COLUMNS.index("mma")] == 3.0 for row in rows)
    assert [row[bench.COLUMNS.index("mma_one_pass")] for row in rows] == [None, 3.0, None, 3.0]
    assert set(asked) == {
        ("mma", "mma"),
        ("mma_one_pass", "mma_one_pass"),
        ("FlashAttention-2", None),
        ("FlashAttention-4", None),
    }
    assert len(bench.table(rows).rows) == 4


def test_the_kernels_that_are_asked_for_are_only_asked_for_inside(bench, monkeypatch):
    monkeypatch.setenv("PYPROF_CUDA_KERNELS", "before")
    for name, value in (("hopper", "hopper"), ("mma", "mma"), ("auto", None), ("FlashAttention-2", None)):
        with bench.kernels(name):
            assert os.environ.get("PYPROF_CUDA_KERNELS") == value
    assert os.environ["PYPROF_CUDA_KERNELS"] == "before"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_card_it_says_so():
    done = subprocess.run(
        [sys.executable, BENCH / "attention.py", "--device", "cuda"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "there is no CUDA device that this PyTorch can use: run this where there is one"

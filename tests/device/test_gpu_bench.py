"""bench/gpu.py without a GPU: what its parts do, and that no part and no failure keeps the others from being told."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_bench", ROOT / "bench" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_bench", module)
    spec.loader.exec_module(module)
    return module


def test_all_parts_fit_eight_minutes_and_have_a_limit(bench, tmp_path):
    every = bench.parts("python3", tmp_path)
    assert [part.name for part in every] == list(bench.LIMITS)
    assert every[0].command[1:] == ["setup.py", "-q", "build_ext", "--inplace"]
    assert bench.LIMITS["study"] > bench.STUDY_BUDGET
    assert bench.LIMITS["models"] > bench.MODELS_SECONDS
    assert all("cuda" in part.command for part in every if part.name not in ("build", "callback", "tests"))
    assert all((ROOT / part.command[1]).exists() for part in every if part.command[1].startswith("bench/"))


def test_commands_of_the_parts_are_understood(bench, tmp_path):
    from pyprof.cli.main import build_parser

    commands = [part for part in bench.parts("python3", tmp_path) if "pyprof" in part.command]
    assert len(commands) == 7
    for part in commands:
        build_parser().parse_args(part.command[part.command.index("pyprof") + 1 :])


def test_the_sources_are_the_package_without_an_installation(bench, tmp_path):
    environ = {**os.environ, **bench.in_place(tmp_path)}
    program = "import pyprof.models.registry as r; print(r.__file__, r.find('bert').unit)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environ, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(tmp_path / "pyprof" / "models" / "registry.py"), "token"]


def test_parts_end_with_what_became_of_them(bench, monkeypatch):
    monkeypatch.setattr(bench, "LIMITS", dict.fromkeys(("good", "bad", "missing", "late"), 20))
    plain = '{"plain": {"step": {"value": 0.00517}, "ratio": {"value": 1.036}}}'
    good = bench.Part("good", [sys.executable, "-c", f"print('{plain}')"])
    bad = bench.Part("bad", [sys.executable, "-c", "raise SystemExit('it broke')"])
    missing = bench.Part("missing", ["/no/such/program"])
    late = bench.Part("late", ["never started"])
    for part, seconds in ((good, 60), (bad, 60), (missing, 60), (late, 5)):
        bench.run(part, seconds, {})
    assert [part.status for part in (good, bad)] == ["ok", "exit code 1"]
    assert missing.status == "cannot be started (No such file or directory)"
    assert late.status == "left out"
    text = bench.markdown("A card", [good, bad, missing, late])
    assert "| good | ok | 0 | a step takes 5.17 ms; looking +3.6 % |" in text
    assert "it broke" in text


def test_the_time_ends_a_part(bench, monkeypatch):
    monkeypatch.setattr(bench, "LIMITS", {"slow": 10})
    slow = bench.Part("slow", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(bench.subprocess, "run", _late)
    bench.run(slow, 60, {})
    assert slow.status == "not done within 10 s"


def _late(command, *, timeout, **_):
    raise subprocess.TimeoutExpired(command, timeout)

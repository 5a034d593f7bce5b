"""bench/gpu.py without a GPU: what its parts do, and that no part and no failure keeps the others from being told."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

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
    assert list(bench.KEPT) == list(bench.LIMITS)[1:]
    assert all(bench.LEAST <= kept <= bench.LIMITS[name] for name, kept in bench.KEPT.items())
    assert sum(bench.KEPT.values()) + bench.LIMITS["build"] <= 480, "a long build costs no part all of its time"
    with_time = {part.name for part in every if any(bench.LEFT in word for word in part.command)}
    assert with_time == {"models", "study"}
    assert all(bench.KEPT[name] - bench.AROUND >= 20 for name in with_time)
    assert all("cuda" in part.command for part in every if part.name not in ("build", "callback", "tests", "hopper"))
    assert all((ROOT / part.command[1]).exists() for part in every if part.command[1].startswith("bench/"))


@pytest.mark.parametrize("slow_build", [True, False])
def test_parts_that_all_hang_end_within_eight_minutes_and_each_has_its_turn(bench, monkeypatch, tmp_path, slow_build):
    """By a clock that only moves while a part runs."""
    clock = SimpleNamespace(now=0.0)
    waited = {}

    class Hanging:
        def __init__(self, command, **_):
            del command

        def wait(self, limit):
            clock.now += limit if slow_build or waited else 5.0
            waited[len(waited)] = limit
            raise subprocess.TimeoutExpired("part", limit)

        def poll(self):
            return -9

    every = bench.parts(sys.executable, tmp_path)
    monkeypatch.setattr(bench, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(bench.subprocess, "Popen", Hanging)
    monkeypatch.setattr(bench, "card", lambda: ("A card", "9.0"))
    monkeypatch.setattr(bench, "parts", lambda *_: every)
    monkeypatch.setattr(bench, "in_place", lambda folder: {})
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--results", str(tmp_path)])
    assert bench.main() == 3
    assert clock.now <= 480
    limits = dict(zip((part.name for part in every), waited.values(), strict=True))
    assert all(limits[name] >= kept for name, kept in bench.KEPT.items())
    assert all(limit <= bench.LIMITS[name] for name, limit in limits.items())
    if not slow_build:
        assert limits["callback"] == bench.LIMITS["callback"]


def test_the_part_of_hopper_is_left_out_on_other_cards(bench, tmp_path):
    others = [part.name for part in bench.parts("python3", tmp_path, "8.0")]
    assert others == [name for name in bench.LIMITS if name != "hopper"]


def test_commands_of_the_parts_are_understood(bench, tmp_path):
    from pyprof.cli.main import build_parser

    commands = [part for part in bench.parts("python3", tmp_path) if "pyprof" in part.command]
    assert len(commands) == 7
    for part in commands:
        words = [word.replace(bench.LEFT, "55") for word in part.command]
        build_parser().parse_args(words[words.index("pyprof") + 1 :])


# What a machine with a GPU need not have: nothing is installed there.
ABSENT = ("torchinfo", "scipy", "pybind11", "submitit", "vl_convert", "playwright", "pandas", "pyarrow")


@pytest.fixture
def without_packages(tmp_path):
    folder = tmp_path / "absent"
    folder.mkdir()
    for name in ABSENT:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_only_files_with_tests_for_a_gpu_are_imported(bench, without_packages):
    files = bench.gpu_tests()
    assert {"tests/cuda/test_on_gpu.py", "tests/ops/test_on_cuda.py"} <= set(files)
    assert len(files) < 12
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--collect-only", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env=without_packages,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert int(re.search(r"(\d+)/\d+ tests collected|(\d+) tests collected", done.stdout)[1]) > 70


def test_the_sources_are_the_package_without_an_installation(bench, tmp_path):
    environ = {**os.environ, **bench.in_place(tmp_path)}
    program = "import pyprof.models.registry as r; print(r.__file__, r.find('bert').unit)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environ, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(tmp_path / "pyprof" / "models" / "registry.py"), "token"]


def test_parts_end_with_what_became_of_them(bench, monkeypatch):
    monkeypatch.setattr(bench, "LIMITS", dict.fromkeys(("good", "bad", "missing", "late", "told"), 20))
    plain = '{"plain": {"step": {"value": 0.00517}, "ratio": {"value": 1.036}}}'
    good = bench.Part("good", [sys.executable, "-c", f"print('{plain}')"])
    bad = bench.Part("bad", [sys.executable, "-c", "raise SystemExit('it broke')"])
    missing = bench.Part("missing", ["/no/such/program"])
    late = bench.Part("late", ["never started"])
    asked = bench.Part("told", [sys.executable, "-c", "import sys; print(sys.argv[1:])", "{left} s"])
    for part, seconds in ((good, 60), (bad, 60), (missing, 60), (late, 5), (asked, 40)):
        bench.run(part, seconds, {})
    assert asked.output == "['1 s']\n", "of 20 seconds nothing is left beside beginning and ending"
    assert [part.status for part in (good, bad)] == ["ok", "exit code 1"]
    assert missing.status == "cannot be started (No such file or directory)"
    assert late.status == "left out"
    text = bench.markdown("A card", [good, bad, missing, late])
    assert "| good | ok | 0 | a step takes 5.17 ms; looking +3.6 % |" in text
    assert "it broke" in text


STARTS_ANOTHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("began", child.pid, flush=True)
time.sleep(60)
"""


def test_the_time_ends_a_part_with_all_that_it_has_started(bench, monkeypatch):
    monkeypatch.setattr(bench, "LIMITS", {"slow": 2})
    monkeypatch.setattr(bench, "LEAST", 1)
    slow = bench.Part("slow", [sys.executable, "-c", STARTS_ANOTHER])
    begin = time.monotonic()
    bench.run(slow, 60, {})
    assert slow.status == "not done within 2 s"
    assert time.monotonic() - begin < 20
    began, child = slow.output.split()
    assert began == "began", "what was printed by then is kept"
    wait_for(lambda: not runs(int(child)))


def runs(process):
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_card_one_sentence_says_so(bench):
    with pytest.raises(SystemExit, match=r"there is no CUDA device that this PyTorch can use \(.+\): run this where"):
        bench.card()


@pytest.mark.parametrize("document", [{"plain": {"step": 3}}, {"modes": []}, {"rows": 7}, {"counts": None}, [1], "x"])
def test_what_a_part_prints_in_another_form_is_no_figure_and_no_failure(bench, document):
    part = bench.Part("profile", [], "ok", 1.0, "", document)
    assert bench.told(part) == ""
    assert "| profile | ok | 1 |  |" in bench.markdown("A card", [part])


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("word", ["PYTHON=python9", "VENV="])
def test_the_packages_of_a_named_python_are_taken_as_they_are(word):
    environ = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "PYTHON", "VENV")}
    command = ["make", "--no-print-directory", "-n", "gpu", word]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [word.partition("=")[2] or "python3", "bench/gpu.py"]

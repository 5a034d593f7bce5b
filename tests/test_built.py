"""A pyprof that was built for another torch says so in one sentence, and only where that matters."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyprof import built
from pyprof.built import Built, built_for, installed_torch, mismatch, refuse_mismatch
from pyprof.errors import UsageError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("installed", ["2.13.0+cpu", "2.13.1", "2.13.0+cu130", None])
def test_the_same_minor_version_fits(installed: str | None) -> None:
    assert mismatch(Built("2.13.0+cpu", None), installed) is None
    assert mismatch(None, "2.14.0") is None


def test_another_one_is_a_sentence_that_names_both() -> None:
    said = mismatch(Built("2.13.0+cpu", None), "2.14.1+cu130")
    assert said is not None
    assert said.startswith("this pyprof was built for torch 2.13.0+cpu and torch 2.14.1+cu130 is installed: ")
    assert "\n" not in said


def test_the_installed_torch_is_told_without_importing_it() -> None:
    program = "import sys; from pyprof.built import installed_torch; print(installed_torch(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    import torch

    assert done.stdout.split() == [torch.__version__, "False"]
    assert installed_torch() == torch.__version__


def test_what_was_built_for_is_read_or_unknown(tmp_path: Path) -> None:
    path = tmp_path / "_built.json"
    assert built_for(path) is None
    for damaged in ("", "[]", "{}", '{"torch": "2.13.0"}'):
        path.write_text(damaged)
        assert built_for(path) is None
    path.write_text(json.dumps({"torch": "2.13.0+cu130", "cuda": "13.0"}))
    assert built_for(path) == Built("2.13.0+cu130", "13.0")


def test_only_the_native_part_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(built, "built_for", lambda: Built("2.10.0", None))
    monkeypatch.setattr(built, "installed_torch", lambda: "2.13.0")
    monkeypatch.delitem(sys.modules, "pyprof._window", raising=False)
    refuse_mismatch()
    with pytest.raises(UsageError, match=r"was built for torch 2\.10\.0 and torch 2\.13\.0 is installed"):
        importlib.import_module("pyprof._window")
    importlib.import_module("pyprof.report.terminal")


def test_a_wheel_says_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    import pyprof

    monkeypatch.setenv("PYPROF_WHEEL", "1")
    command = [sys.executable, "setup.py", "-q", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    release = ".".join(torch.__version__.split(".")[:2])
    kind = "cpu" if torch.version.cuda is None else f"cu{torch.version.cuda.replace('.', '')}"
    assert done.stdout.split()[-1] == f"{pyprof.__version__}+torch{release}.{kind}"

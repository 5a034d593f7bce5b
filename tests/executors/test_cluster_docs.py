"""The examples of docs/executors.md that need a cluster: all are understood, and those of this size are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_tests import FakeSlurm

from pyprof.cli.main import build_parser
from pyprof.executors import registry
from pyprof.records.run_directory import read

PAGE = Path(__file__).parents[2] / "docs" / "executors.md"
INDENTED = re.compile(r"^    (pyprof (?:.*\\\n)*.*)$", re.MULTILINE)


def commands(executor: str) -> list[list[str]]:
    """The command lines of the page that name an executor."""
    texts = (match.replace("\\\n", " ") for match in INDENTED.findall(PAGE.read_text()))
    return [shlex.split(text) for text in texts if f"--executor {executor} " in text]


@pytest.mark.parametrize(("executor", "count"), [("ray", 1), ("slurm", 2)])
def test_every_command_is_understood_and_every_option_has_a_line(executor: str, count: int) -> None:
    kind = registry.kind_of(executor)
    assert len(commands(executor)) == count
    for command in commands(executor):
        options = build_parser().parse_args(command[1:])
        registry.options_of(kind, options.executor_option)
    section = PAGE.read_text().partition(f"\n## {executor.capitalize()}\n")[2].partition("\n## ")[0]
    listed = {
        name
        for cell in re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
        for name in re.findall(r"`([a-z]+)`", cell)
    }
    assert listed == {option.name for option in kind.options}


def run_example(executor: str, directory: Path) -> None:
    command = commands(executor)[0]
    done = subprocess.run(
        [sys.executable, "-m", "pyprof", *command[1:]], cwd=directory, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = read(directory / "runs" / executor)
    assert {record.status for record in run.records.values()} == {"ok"}
    assert len(run.records) >= 4
    assert all(record.place is not None for record in run.records.values())


@pytest.mark.slow
def test_the_example_of_slurm_runs(tmp_path: Path, slurm: FakeSlurm) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'pyprof-transformers[slurm]'")
    run_example("slurm", tmp_path)
    assert not (tmp_path / "runs" / "slurm" / "slurm").exists()
    assert slurm.jobs()["1_0"]["options"]["time"] == "60"


@pytest.mark.slow
def test_the_example_of_ray_runs(tmp_path: Path, ray_mark: str) -> None:
    run_example("ray", tmp_path)


def test_what_a_cluster_needs_is_imported_only_where_one_is_asked_for() -> None:
    program = (
        "import sys; from pyprof.executors import registry; from pyprof.executors.kind import Asked; "
        "from pathlib import Path; from pyprof.study import run; registry.create('local', Asked(Path('.'))); "
        "print([name for name in ('ray', 'submitit', 'cloudpickle') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

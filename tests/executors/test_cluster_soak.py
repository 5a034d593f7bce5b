"""Runs on clusters whose jobs, actors and runs are killed at random: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import sleeping_run
from cluster_tests import HERE
from ray_tests import processes
from slurm_tests import FakeSlurm
from test_soak import ENDINGS, report_of

from pyprof.records.run_directory import RECORDS, STUDY, read, read_layers
from pyprof.records.strict_json import parsed

# What is killed, and whether there was anything.
Kill = Callable[[random.Random], bool]


def soak(
    kind: str, directory: Path, lengths: int, kill: Kill, *, kills: int, pause: float, seconds: float, runs: float
) -> Counter[str]:
    """Measure until it is done, while workers and the run itself are killed; what was killed, by kind.

    `pause` is the mean time between kills, `runs` the share of them that hit the run.
    """
    chance, killed = random.Random(lengths), Counter[str]()
    command = [sys.executable, "cluster_run.py", kind, str(directory), str(lengths)]
    while True:
        with subprocess.Popen(command, cwd=HERE, env={**os.environ, "SLEEPING_SECONDS": str(seconds)}) as run:
            while run.poll() is None:
                time.sleep(chance.uniform(0.2, 1.8) * pause)
                if killed.total() >= kills or not (directory / STUDY).exists():
                    continue
                if killed["run"] <= runs * killed.total():
                    run.kill()
                    killed["run"] += 1
                elif kill(chance):
                    killed["worker"] += 1
        if run.returncode == 0:
            return killed
        assert run.returncode in ENDINGS


def check(
    kind: str,
    directory: Path,
    lengths: int,
    kill: Kill,
    *,
    kills: int,
    pause: float = 1.0,
    seconds: float = 0.1,
    runs: float = 0.25,
) -> None:
    """The run holds every case once, and its report is that of a run which nobody disturbed."""
    begin = time.monotonic()
    killed = soak(kind, directory / "killed", lengths, kill, kills=kills, pause=pause, seconds=seconds, runs=runs)
    print(f"{2 * lengths} cases in {time.monotonic() - begin:.0f} s, killed: {dict(killed)}")
    assert killed.total() == kills
    assert min(killed["worker"], killed["run"]) > 0
    sleeping_run.run(directory / "undisturbed", 2, lengths)
    ours, theirs = read(directory / "killed"), read(directory / "undisturbed")
    assert {record.status for record in ours.records.values()} == {"ok"}
    assert ours.records.keys() == theirs.records.keys()
    lines = [parsed(line) for line in (ours.directory / RECORDS).read_bytes().splitlines()]
    assert set(Counter(line["key"] for line in lines).values()) == {1}
    for key in ours.records:
        assert read_layers(ours.directory, key) == read_layers(theirs.directory, key)
    assert report_of(ours) == report_of(theirs)


def kill_a_job(slurm: FakeSlurm, directory: Path) -> Kill:
    """Kills all that a job runs, or has it preempted, as happens to one that has measured nothing yet."""

    def kill(chance: random.Random) -> bool:
        running = slurm.running()
        if not running:
            return False
        name = chance.choice(running)
        taken = directory / "killed" / "slurm" / "taken" / name
        if chance.random() < 0.5 and taken.is_dir() and os.listdir(taken):
            slurm.crash(name)
        else:
            slurm.end(name, "PREEMPTED")
        return True

    return kill


@pytest.mark.parametrize(
    ("lengths", "kills"),
    [pytest.param(24, 4, marks=pytest.mark.soak), pytest.param(150, 50, marks=pytest.mark.soak)],
)
def test_slurm_loses_nothing(tmp_path: Path, slurm: FakeSlurm, lengths: int, kills: int) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'pyprof-transformers[slurm]'")
    check("slurm", tmp_path, lengths, kill_a_job(slurm, tmp_path), kills=kills)
    assert not (tmp_path / "killed" / "slurm").exists()
    assert not slurm.processes()


@pytest.mark.soak
def test_ray_loses_nothing(tmp_path: Path, ray_mark: str) -> None:
    def kill(chance: random.Random) -> bool:
        actors = [process for process in processes(ray_mark) if b"ray::Actor" in command_of(process)]
        try:
            os.kill(chance.choice(actors), 9)
        except (IndexError, ProcessLookupError):
            return False
        return True

    check("ray", tmp_path, 300, kill, kills=50, pause=1.0, seconds=0.2, runs=0.06)


def command_of(process: int) -> bytes:
    try:
        return (Path("/proc") / str(process) / "cmdline").read_bytes()
    except OSError:
        return b""

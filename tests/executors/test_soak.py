"""Random kills of workers and the coordinator: in the end every case is there once, as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sleeping_run import run

from pyprof.records.run_directory import RECORDS, Run, read, read_layers
from pyprof.records.strict_json import parsed
from pyprof.report import as_json
from pyprof.report.run import view_of

TESTS = Path(__file__).parents[1]
WORKERS = 4
# A coordinator that was killed, one that could start no worker, one that has lost them all.
ENDINGS = (-signal.SIGKILL, 2, 3)
# What depends on where and when a case was measured.
NOT_COMPARED = ("notes", "directory", "seconds", "place")


def workers_of(coordinator: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == coordinator:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def soak(directory: Path, lengths: int, kills: int, seed: int) -> Counter[str]:
    """Measure until it is done, while one process after the other is killed; what was killed, by kind."""
    chance = random.Random(seed)
    killed: Counter[str] = Counter()
    environment = {**os.environ, "SLEEPING_SECONDS": "0.1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, str(TESTS / "sleeping_run.py"), str(directory), str(WORKERS), str(lengths)]
    while True:
        with subprocess.Popen(command, env=environment) as coordinator:
            while coordinator.poll() is None:
                time.sleep(chance.uniform(0.02, 0.5))
                if killed.total() == kills:
                    continue
                workers = workers_of(coordinator.pid)
                if not workers and chance.random() < 0.9:
                    continue  # it has hardly begun, which is worth a kill now and then
                kind = "worker" if workers and chance.random() < 0.75 else "coordinator"
                try:
                    os.kill(chance.choice(workers) if kind == "worker" else coordinator.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed[kind] += 1
        if coordinator.returncode == 0:
            return killed
        assert coordinator.returncode in ENDINGS


def report_of(run: Run) -> Any:
    """The report of a run without its directory and what depends on where and when a case was measured."""
    return _plain(as_json.document(view_of(run)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if name not in NOT_COMPARED}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def check(directory: Path, lengths: int, kills: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = soak(directory / "killed", lengths, kills, seed)
    assert killed.total() == kills
    assert min(killed["worker"], killed["coordinator"]) > 0
    monkeypatch.setenv("SLEEPING_SECONDS", "0")
    run(directory / "undisturbed", WORKERS, lengths)
    ours, theirs = read(directory / "killed"), read(directory / "undisturbed")
    assert ours.warnings == ()
    assert {record.status for record in ours.records.values()} == {"ok"}
    assert ours.records.keys() == theirs.records.keys()
    assert len(ours.records) == 2 * lengths
    lines = [parsed(line) for line in (directory / "killed" / RECORDS).read_bytes().splitlines()]
    assert set(Counter(line["key"] for line in lines).values()) == {1}
    for key in ours.records:
        assert read_layers(ours.directory, key) == read_layers(theirs.directory, key)
    places = [record.place for record in ours.records.values() if record.place is not None]
    assert len(places) == 2 * lengths
    # Both cases of a group come from one attempt at one place.
    assert set(Counter(places).values()) == {2}
    assert report_of(ours) == report_of(theirs)


@pytest.mark.slow
def test_a_run_under_some_random_kills_ends_as_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tmp_path, 30, 8, 3, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1, 3))
def test_a_run_under_fifty_random_kills_ends_as_one_without(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(tmp_path, 150, 50, seed, monkeypatch)

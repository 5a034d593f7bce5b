"""Two processes that take turns: never both at once, one after the other, and nobody waits for one that has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from pyprof.errors import UsageError
from pyprof.worker.turns import VARIABLE, Turns

PARTY = """\
import sys, time
from pathlib import Path
from pyprof.worker.turns import Turns
directory, rounds = Path(sys.argv[1]), int(sys.argv[2])
turns = Turns(directory)
(directory / f"ready {sys.argv[3]}").touch()
while not (directory / "go").exists():
    time.sleep(0.002)
with turns:
    for _ in range(rounds):
        begin = time.monotonic_ns()
        time.sleep(0.004)
        print(begin, time.monotonic_ns(), flush=True)
        turns.offer()
"""


def party(directory: Path, rounds: int, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PARTY, str(directory), str(rounds), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def began(directory: Path, names: str) -> None:
    while not all((directory / f"ready {name}").exists() for name in names):
        time.sleep(0.002)
    (directory / "go").touch()


def rounds_of(said: str) -> list[tuple[int, int]]:
    return [(int(begin), int(end)) for begin, end in map(str.split, said.splitlines())]


def test_rounds_of_two_processes_alternate_and_never_overlap(tmp_path: Path) -> None:
    parties = [party(tmp_path, 30, name) for name in "ab"]
    began(tmp_path, "ab")
    ours, theirs = (rounds_of(each.communicate(timeout=60)[0]) for each in parties)
    assert len(ours) == len(theirs) == 30
    timeline = sorted([(*each, "a") for each in ours] + [(*each, "b") for each in theirs])
    assert all(before[1] <= after[0] for before, after in pairwise(timeline))
    # From when both are there until the first is done, nobody has two rounds in a row.
    first, last = max(ours[0][0], theirs[0][0]), min(ours[-1][1], theirs[-1][1])
    both = [name for begin, _, name in timeline if first <= begin < last]
    assert len(both) > 40
    assert all(before != after for before, after in pairwise(both))


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    other = party(tmp_path, 10**6, "a")
    began(tmp_path, "a")
    assert other.stdout is not None
    other.stdout.readline()
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    other.stdout.close()
    begin = time.monotonic()
    with Turns(tmp_path) as turns:
        for _ in range(100):
            turns.offer()
    assert time.monotonic() - begin < 1.0


def test_turns_are_taken_where_the_environment_says_so_and_by_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Turns.asked_for() is None
    assert Turns.patience() == 1
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert Turns.patience() == 2
    assert Turns.asked_for() is not None
    assert VARIABLE not in os.environ


def test_a_directory_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^no turns can be taken: .* cannot be used"):
        Turns(tmp_path / "absent")

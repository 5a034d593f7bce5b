"""The processes of a sharded model: asked together, ended together, and one sentence for the one that is at fault."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rank_without_torch

from pyprof.errors import ModelError, UsageError
from pyprof.worker import ranks
from pyprof.worker.ranks import RankProcesses, ranks_devices

HERE = Path(__file__).parent
PROGRAM = (str(HERE / "rank_without_torch.py"),)
Started = Callable[..., RankProcesses]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def started() -> Iterator[Started]:
    made: list[RankProcesses] = []

    def start(culprit: int = 1, count: int = 2, seconds: float = 60.0) -> RankProcesses:
        made.append(RankProcesses(rank_without_torch.Work(culprit), count, "cpu", 4, seconds, PROGRAM))
        return made[-1]

    yield start
    processes = [process for each in made for process in each.processes]
    for each in made:
        each.close()
    assert not any(map(is_running, processes))


def test_all_ranks_answer_in_their_order(started: Started) -> None:
    processes = started(count=3)
    answers = processes.ask("who")
    assert [number for number, _, _ in answers] == [0, 1, 2]
    assert tuple(process for _, process, _ in answers) == processes.processes
    assert [local for _, _, local in answers] == ["0", "1", "2"]


@pytest.mark.parametrize("culprit", [0, 1])
@pytest.mark.parametrize(
    ("how", "error", "sentence"),
    [
        ("raises", ModelError, "rank {} of 2: ValueError: planted"),
        ("exits", ModelError, "rank {} of 2: the measuring process ended with code 7: the last words"),
        (
            "dies",
            MemoryError,
            "rank {} of 2: the measuring process was killed, as the system does when memory runs out",
        ),
        ("memory", MemoryError, "rank {} of 2: can't allocate memory"),
        ("usage", UsageError, "that cannot be asked for"),
    ],
)
def test_the_rank_at_fault_is_named_and_the_others_end(
    started: Started, how: str, error: type[Exception], sentence: str, culprit: int
) -> None:
    processes = started(culprit)
    running = processes.processes
    begin = time.monotonic()
    with pytest.raises(error) as raised:
        processes.ask("fail", how)
    assert str(raised.value) == sentence.format(culprit)
    assert time.monotonic() - begin < 5
    assert not any(map(is_running, running))
    assert not processes.alive
    with pytest.raises(ModelError, match="the ranks have ended"):
        processes.ask("who")


def test_a_rank_that_hangs_is_named_by_the_one_that_waited_for_it(started: Started) -> None:
    processes = started()
    with pytest.raises(ModelError, match=r"^rank 1 of 2 gave no answer: rank 0 waited for it in vain$"):
        processes.ask("fail", "hangs")


def test_ranks_that_say_nothing_are_ended_when_the_time_is_up(started: Started) -> None:
    processes = started(culprit=5, seconds=0.5)
    running = processes.processes
    with pytest.raises(ModelError, match=r"^rank 0 and rank 1 of 2 gave no answer within 500 ms$"):
        processes.ask("fail", "raises")
    assert not any(map(is_running, running))


def test_ranks_end_with_the_process_that_asks() -> None:
    program = f"""
import sys
import time
sys.path.insert(0, {str(HERE)!r})
import rank_without_torch
from pyprof.worker.ranks import RankProcesses
processes = RankProcesses(rank_without_torch.Work(), 2, "cpu", 2, 60.0, {PROGRAM!r})
print(*processes.processes, flush=True)
processes.ask("fail", "never")
"""
    asking = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    running = [int(word) for word in asking.stdout.readline().split()]
    assert len(running) == 2
    assert all(map(is_running, running))
    asking.kill()
    asking.wait()
    deadline = time.monotonic() + 5
    while any(map(is_running, running)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_running, running))
    asking.stdout.close()


def test_they_meet_by_no_file_that_could_stay_behind(
    started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ranks.tempfile, "tempdir", str(tmp_path))
    opened = set(os.listdir("/proc/self/fd"))
    processes = started()
    assert not list(tmp_path.iterdir())
    processes.close()
    processes.close()
    assert set(os.listdir("/proc/self/fd")) == opened


def test_each_rank_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks_devices("cpu", 3) == ["cpu", "cpu", "cpu"]
    monkeypatch.setattr("pyprof.device.cuda.CudaDevice.available", lambda self: None)
    assert ranks_devices("cuda", 2) == ["cuda:0", "cuda:1"]
    assert ranks_devices("cuda:2", 2) == ["cuda:2", "cuda:3"]
    monkeypatch.setattr("pyprof.device.cuda.CudaDevice.available", lambda self: "there is no cuda:1: choose cuda:0")
    with pytest.raises(UsageError, match=r"^2 ranks need as many devices from cuda:0 on: there is no cuda:1"):
        ranks_devices("cuda", 2)

"""The process that measures: what it does to a run when it fails, and what a run's own death does to nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_machine import make_study

from pyprof.errors import PyprofError, UsageError
from pyprof.failures import Failure
from pyprof.records import toml
from pyprof.records.case import Case
from pyprof.records.run_directory import read, read_layers
from pyprof.records.study import Study
from pyprof.study.run import run_study
from pyprof.worker import executors
from pyprof.worker.executors import WorkerExecutor

HERE = Path(__file__).parent
QUICKLY = {"min_samples": 6, "max_samples": 6, "max_seconds": 0.2, "timeout": "3 s"}


def a_study(models: list[str], **changes: Any) -> Study:
    blocks = [{"vanilla": f"workload:{name}", "lengths": [4, 80], "implementations": ["now"]} for name in models]
    table: dict[str, Any] = {"comparison": blocks, "measure": QUICKLY, "memory_budget": "256 MiB", "threads": 1}
    return make_study(**{**table, "device": "cpu", **changes})


@pytest.fixture(autouse=True)
def workload_is_in_the_current_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)


@pytest.fixture
def executor() -> Iterator[WorkerExecutor]:
    worker = WorkerExecutor()
    yield worker
    worker.close()


def a_case(name: str, length: int = 4, **changes: Any) -> Case:
    return Case(f"workload:{name}", length, **{"attention": "own", **changes})


def pid(executor: WorkerExecutor) -> int:
    (worker,) = executor._workers.values()
    return worker._process.pid


def test_cases_that_end_well_share_a_process_and_what_they_print_hurts_nothing(
    executor: WorkerExecutor, capfd: pytest.CaptureFixture[str]
) -> None:
    names, care = ["quiet", "noisy", "raising", "hungry"], {**QUICKLY, "timeout": "60 s"}
    ready = executor.start(a_study(names, metrics=["latency", "throughput"], batch_limit=2, measure=care))
    assert (ready.study.threads, ready.environment.threads, ready.study.memory_budget) == (1, 1, 2**28)
    process = pid(executor)
    quiet, noisy = executor.measure_together([a_case("quiet"), a_case("noisy")])
    assert (quiet.record.status, noisy.record.status) == ("ok", "ok")
    rounds = [one.record.indicators["latency"].rounds.id for one in (quiet, noisy)]
    assert rounds[0] == rounds[1]
    assert quiet.layers is not None
    assert quiet.layers["path"] == ["", "first", "second"]
    assert quiet.record.environment == ready.environment.fingerprint
    raised = executor.measure(a_case("raising")).record
    assert (raised.status, raised.reason) == ("error", "ValueError: a first line")
    # 80 tokens would take 1.25 GiB, which the limit of this process refuses: an exception and no killing.
    hungry = executor.measure(a_case("hungry", 80)).record
    assert hungry.status == "oom"
    assert hungry.reason is not None
    assert hungry.reason.startswith("out of memory: ")
    assert executor.measure(a_case("hungry", 4)).record.status == "ok"
    # A throughput is confirmed in one more process, which the first one starts.
    largest = executor.measure(a_case("hungry", 4, batch="largest")).record
    assert (largest.status, largest.reason) == ("ok", None)
    assert largest.indicators["throughput"].detail["batch"] == 2
    assert pid(executor) == process
    assert capfd.readouterr() == ("", "")


def test_a_timeout_or_a_death_costs_one_case_and_one_process(executor: WorkerExecutor) -> None:
    executor.start(a_study(["sleepy", "killed"]))
    first = pid(executor)
    begin = time.monotonic()
    slow = executor.measure(a_case("sleepy")).record
    assert (slow.status, slow.reason) == ("timeout", "it took longer than the 3.00 s allowed for one case")
    assert 3 <= time.monotonic() - begin < 15
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    # The next case gets a process of its own, and its end has another reason.
    killed = executor.measure(a_case("killed")).record
    assert killed.status == "oom"
    assert "was killed, as the system does when memory runs out" in str(killed.reason)


def stand_in(monkeypatch: pytest.MonkeyPatch, directory: Path, script: str) -> None:
    """Let a shell script take the place of the process that measures; the replies' descriptor is its last argument."""
    path = directory / "stand-in"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(executors.sys, "executable", str(path))


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        ("exit 7", "error", "the measuring process ended with code 7"),
        ("echo the end is near; exit 7", "error", "the measuring process ended with code 7: the end is near"),
        ("kill -SEGV $$", "error", "the measuring process ended by SIGSEGV"),
        ("kill -KILL $$", "oom", "the measuring process was killed, as the system does when memory runs out"),
        (
            "echo first; echo what: std::bad_alloc >&2; kill -ABRT $$",
            "oom",
            "the measuring process ran out of memory: what: std::bad_alloc",
        ),
    ],
)
def test_why_a_process_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, status: str, reason: str
) -> None:
    stand_in(monkeypatch, tmp_path, script)
    worker = executors._Worker(a_study(["quiet"]), "default")
    with pytest.raises(EOFError):
        worker.ask({"study": {}}, 10)
    assert worker.obituary() == Failure(status, reason)
    worker.kill()


def test_what_the_machine_cannot_do_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: WorkerExecutor
) -> None:
    stand_in(monkeypatch, tmp_path, """echo '{"refused": "there is no such device"}' > /dev/fd/$4; sleep 60""")
    with pytest.raises(UsageError, match="there is no such device"):
        executor.start(a_study(["quiet"]))


def test_a_process_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: WorkerExecutor
) -> None:
    stand_in(monkeypatch, tmp_path, "echo ImportError: no torch; exit 1")
    with pytest.raises(PyprofError, match=r"could not start: .* ended with code 1: ImportError: no torch"):
        executor.start(a_study(["quiet"]))


RUN = """
import sys
from pathlib import Path
from pyprof.records import study as studies
from pyprof.study.run import StudyInterrupted, run_study
directory = Path(sys.argv[1])
study = studies.read(directory / "study.toml")
try:
    run_study(study, directory / "run", progress=lambda event: print(event.kind, flush=True))
except StudyInterrupted as error:
    sys.exit(error.exit_code)
"""


def run_and_send(directory: Path, number: signal.Signals) -> int:
    """Run the study in a process, send it a signal when its second case has begun, and wait for its end."""
    command = [sys.executable, "-c", RUN, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(3)]
        assert seen == ["started\n", "finished\n", "started\n"]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        process.send_signal(number)
        process.stdout.read()
        code = process.wait()
    wait_for_end(int(children[0]))
    return code


def wait_for_end(child: int) -> None:
    """The process that measured ends by itself, promptly, whatever its parent died of."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {child} outlived the run")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_run_that_is_killed_or_interrupted_goes_on_without_repeating(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    # The first case loads libraries too, and the second has to last until the signal is there, on a busy machine too.
    lasting = {**QUICKLY, "min_samples": 40, "max_samples": 40, "max_seconds": 2.0, "timeout": "60 s"}
    study, directory = a_study(["steady"], measure=lasting), tmp_path / "run"
    (tmp_path / "study.toml").write_text(toml.dumps(study.to_table()))
    assert run_and_send(tmp_path, number) == code
    before = read(directory)
    assert len(before.records) == 1
    measured: list[Case] = []
    result = run_study(
        study,
        directory,
        resume=True,
        progress=lambda event: measured.append(event.case) if event.kind == "finished" else None,
    )
    assert result.counts == {"ok": 2}
    assert len(measured) == 1
    assert measured[0].key not in before.records
    assert len((directory / "records.jsonl").read_text().splitlines()) == 2
    assert all(read_layers(directory, key) is not None for key in result.records)

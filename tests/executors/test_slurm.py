"""The executor slurm against a fake Slurm: what happens to groups when jobs, queues and runs end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sleeping_worker
from cluster_tests import HERE, a_study, a_task, ended, log_of, reports_until
from simulated_machine import make_environment
from slurm_tests import QUICK, FakeSlurm, an_executor

from pyprof.errors import IncompleteError, UsageError
from pyprof.executors import registry
from pyprof.executors.kind import Asked
from pyprof.executors.slurm_crew import Crew
from pyprof.executors.slurm_executor import Pace
from pyprof.executors.slurm_queue import Job, Queue, Resources
from pyprof.executors.spool import Spool
from pyprof.records.executor import Began, Lost, Measured, Ready, Warned
from pyprof.records.place import Place

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'pyprof-transformers[slurm]'")


def test_jobs_stay_and_take_group_after_group_and_are_gone_in_the_end(tmp_path: Path, slurm: FakeSlurm) -> None:
    executor = an_executor(tmp_path)
    try:
        ready = executor.start(a_study())
        assert ready.study.threads == 1
        assert ready.environment.cpu == "simulated"
        assert executor.found() == ()
        tasks = [a_task(100 + number, 200) for number in range(6)]
        # Every worker has room for a second group, and whoever has not come yet for one.
        assert 3 <= len(executor.free()) <= 4
        for task in tasks:
            executor.submit(task)
        assert not executor.free()
        reports = reports_until(executor, ended(6))
        measured = {report.task: report for report in reports if isinstance(report, Measured)}
        assert measured.keys() == {task.id for task in tasks}
        for task in tasks:
            records = [outcome.record for outcome in measured[task.id].outcomes]
            assert [record.case for record in records] == list(task.cases)
            assert {(record.place.group, record.place.together) for record in records} == {(task.group, 2)}
        began = [report.task for report in reports if isinstance(report, Began)]
        assert sorted(began) == sorted(measured)
        assert len(executor.workers()) == 2
        # Two jobs measured it all.
        assert len({process for process, _ in log_of(tmp_path)}) == 2
        assert len(slurm.jobs()) == 2
        executor.wait(0)
    finally:
        executor.close()
    assert not slurm.processes()
    assert {job["state"] for job in slurm.jobs().values()} == {"CANCELLED"}
    assert not (tmp_path / "slurm").exists()
    executor.close()


@pytest.mark.parametrize(
    ("state", "says", "counts"),
    [
        ("PREEMPTED", "was preempted", False),
        pytest.param("FAILED", "ended", True, marks=pytest.mark.slow),
        pytest.param("TIMEOUT", "reached its time limit", True, marks=pytest.mark.slow),
    ],
)
def test_a_job_that_ends_costs_its_group_and_another_takes_its_place(
    tmp_path: Path,
    slurm: FakeSlurm,
    state: str,
    says: str,
    counts: bool,
) -> None:
    executor = an_executor(tmp_path, workers=1)
    try:
        executor.start(a_study())
        task = a_task(30_000)
        executor.submit(task)
        reports_until(executor, lambda reports: any(isinstance(report, Began) for report in reports))
        (job,) = slurm.running()
        if state == "FAILED":
            slurm.crash(job)
        else:
            slurm.end(job, state)
        (lost,) = [report for report in reports_until(executor, ended(1)) if isinstance(report, Lost)]
        assert (lost.task, lost.reason, lost.counts) == (task.id, f"job {job} {says}", counts)
        assert lost.place is not None
        again = a_task(10, attempt=2)
        executor.submit(again)
        (measured,) = [report for report in reports_until(executor, ended(1)) if isinstance(report, Measured)]
        assert measured.task == again.id
        assert len(slurm.jobs()) == 2
    finally:
        executor.close()


def test_how_a_job_ended_is_asked_for_until_it_is_known() -> None:
    crew = Crew()
    crew.hear("1_0", {"environment": make_environment().to_json(), "place": Place("here", "cores 0").to_json()})
    crew.learn({"1_0": Job("1_0", "RUNNING", "None")})
    assert crew.alive == ["1_0"]
    for _ in range(3):
        crew.learn({"1_0": Job("1_0", "COMPLETING", "None")})
        assert (crew.alive, crew.is_gone("1_0")) == ([], False)
    crew.learn({"1_0": Job("1_0", "CANCELLED", "None")})
    assert crew.is_gone("1_0")
    assert crew.end_of("1_0") == ("job 1_0 was cancelled", False)
    # One that never comes to an end is given up, and so is one that the queue has forgotten.
    for _ in range(12):
        crew.learn({"1_0": Job("1_0", "COMPLETING", "None")})
    assert crew.is_gone("1_0")
    crew.learn({})
    assert crew.end_of("1_0") == ("job 1_0 ended", True)


@pytest.mark.slow
def test_a_worker_that_ends_or_hangs_is_replaced(tmp_path: Path, slurm: FakeSlurm) -> None:
    executor = an_executor(tmp_path, workers=2)
    try:
        executor.start(a_study())
        dying, hanging = a_task(sleeping_worker.DIES), a_task(sleeping_worker.HANGS, allowed=2.0)
        executor.submit(dying)
        executor.submit(hanging)
        reports = reports_until(executor, ended(2))
        lost = {report.task: report.reason for report in reports if isinstance(report, Lost)}
        assert lost.keys() == {dying.id, hanging.id}
        assert lost[dying.id].endswith("ended")
        assert "gave no answer for 2.00 s" in lost[hanging.id]
        executor.submit(a_task(10))
        assert isinstance(reports_until(executor, ended(1))[-1], Measured)
    finally:
        executor.close()


RUN = """
import sys, time
from pathlib import Path
from cluster_tests import a_study, a_task
from slurm_tests import an_executor
executor = an_executor(Path(sys.argv[1]), int(sys.argv[2]))
executor.start(a_study())
for length in map(int, sys.argv[3:]):
    executor.submit(a_task(length))
print("submitted", flush=True)
try:
    while True:
        for report in executor.wait(1.0):
            print(type(report).__name__, flush=True)
        time.sleep(0.3)
except KeyboardInterrupt:
    executor.close()
    print("closed", flush=True)
"""


def a_run(directory: Path, *lengths: int, workers: int = 1) -> subprocess.Popen[str]:
    """A run in a process of its own, which has given out groups."""
    command = [sys.executable, "-c", RUN, str(directory), str(workers), *map(str, lengths)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE)
    assert process.stdout is not None
    assert process.stdout.readline() == "submitted\n"
    return process


def test_a_run_that_is_killed_finds_its_groups_again(tmp_path: Path, slurm: FakeSlurm) -> None:
    lengths = (1500, 1000, 500)
    with a_run(tmp_path, *lengths) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Began\n"
        process.kill()
    (job,) = slurm.running()
    executor = an_executor(tmp_path, workers=1, resumed=True)
    try:
        ready = executor.start(a_study())
        assert ready.study.threads == 1
        tasks = {a_task(length).id for length in lengths}
        assert {task.id for task in executor.found()} == tasks
        reports = reports_until(executor, ended(3))
        assert {report.task for report in reports if isinstance(report, Measured)} == tasks
        # The job went on all the while, and nothing was measured twice.
        assert list(slurm.jobs()) == [job]
        assert [lengths for _, lengths in log_of(tmp_path)] == ["1500", "1000", "500"]
        executor.wait(0)
    finally:
        executor.close()
    assert not (tmp_path / "slurm").exists()


@pytest.mark.slow
def test_a_job_that_ended_with_its_run_gives_its_group_back(tmp_path: Path, slurm: FakeSlurm) -> None:
    with a_run(tmp_path, 30_000) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Began\n"
        process.kill()
    slurm.crash(slurm.running()[0])
    executor = an_executor(tmp_path, workers=1, resumed=True)
    try:
        executor.start(a_study())
        (task,) = executor.found()
        (lost,) = [report for report in reports_until(executor, ended(1)) if isinstance(report, Lost)]
        assert lost.task == task.id
    finally:
        executor.close()


def test_an_interrupted_run_ends_its_jobs_in_time_and_keeps_what_they_handed_in(
    tmp_path: Path,
    slurm: FakeSlurm,
) -> None:
    with a_run(tmp_path, 30_000, 30_001, 30_002, workers=2) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["Began\n", "Began\n"]
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().splitlines()[-1] == "closed"
        assert time.monotonic() - begin < 5
    assert process.returncode == 0
    assert not slurm.processes()
    assert not (tmp_path / "slurm").exists()


@pytest.mark.slow
def test_what_nobody_has_read_waits_for_whoever_goes_on(tmp_path: Path, slurm: FakeSlurm) -> None:
    first = an_executor(tmp_path, workers=1)
    first.start(a_study())
    task = a_task(50)
    first.submit(task)
    deadline = time.monotonic() + 30
    while not list(first._spool.told("done")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.close()
    again = an_executor(tmp_path, workers=1, resumed=True)
    try:
        again.start(a_study())
        assert again.found() == (task,)
        assert isinstance(reports_until(again, ended(1))[-1], Measured)
    finally:
        again.close()
    assert len(log_of(tmp_path)) == 1


@pytest.mark.slow
def test_jobs_of_a_run_that_never_began_are_cancelled_by_the_next(tmp_path: Path, slurm: FakeSlurm) -> None:
    with a_run(tmp_path, 30_000) as process:
        process.kill()
    (job,) = slurm.running()
    executor = an_executor(tmp_path, workers=1)
    try:
        executor.start(a_study())
        assert executor.found() == ()
        assert slurm.jobs()[job]["state"] == "CANCELLED"
        assert len(slurm.running()) == 1
    finally:
        executor.close()


@pytest.mark.slow
def test_a_job_that_refused_says_nothing_about_those_of_a_later_run(tmp_path: Path, slurm: FakeSlurm) -> None:
    with a_run(tmp_path, 30_000) as process:
        process.kill()
    Spool(tmp_path / "slurm").register("7_0", {"refused": "this machine has no such device"})
    executor = an_executor(tmp_path, workers=2, resumed=True)
    try:
        executor.start(a_study())
        assert len(executor.found()) == 1
        reports_until(executor, lambda reports: len(executor.workers()) == 2)
    finally:
        executor.close()


@pytest.mark.slow
def test_jobs_end_when_there_is_nothing_to_do_and_come_again(tmp_path: Path, slurm: FakeSlurm) -> None:
    executor = an_executor(tmp_path, workers=1, pace=Pace(0.05, 0.2, idle=0.5))
    try:
        executor.start(a_study())
        deadline = time.monotonic() + 30
        while slurm.running():
            assert time.monotonic() < deadline
            executor.wait(0.2)
        assert {job["state"] for job in slurm.jobs().values()} == {"COMPLETED"}
        executor.wait(1.0)
        # Nothing runs and nothing is asked for, which is no reason to submit jobs; there is room all the same.
        assert len(slurm.jobs()) == 1
        assert executor.free() == [""]
        executor.submit(a_task(10))
        assert isinstance(reports_until(executor, ended(1))[-1], Measured)
        assert len(slurm.jobs()) == 2
    finally:
        executor.close()


@pytest.mark.slow
@pytest.mark.parametrize("state", ["PREEMPTED", "CANCELLED", "NODE_FAIL"])
def test_jobs_that_are_taken_away_before_one_is_ready_are_submitted_again(
    tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setenv("FAKE_SLURM_CORES", "0")
    executor = an_executor(tmp_path)
    started: list[Ready] = []
    starting = threading.Thread(target=lambda: started.append(executor.start(a_study())), daemon=True)
    try:
        starting.start()
        until(lambda: len(slurm.jobs()) == 2)
        for name in slurm.jobs():
            slurm.end(name, state)
        monkeypatch.setenv("FAKE_SLURM_CORES", "2")
        starting.join(20)
        assert started
    finally:
        executor.close()
    assert len(slurm.jobs()) == 4


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_whoever_waits_in_the_queue_is_told_why(
    tmp_path: Path,
    slurm: FakeSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_SLURM_CORES", "0")
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        if "pending" in line:
            monkeypatch.setenv("FAKE_SLURM_CORES", "1")

    executor = an_executor(tmp_path, workers=2, tell=tell)
    try:
        begin = time.monotonic()
        waited = executor.start(a_study()).waited
        assert 0 < waited <= time.monotonic() - begin
        assert "waiting for a job of Slurm: job 1_0 is pending (Resources)" in lines
        monkeypatch.setenv("FAKE_SLURM_CORES", "0")
        slurm.end("1_0", "PREEMPTED")
        executor.submit(a_task(10))
        reports = reports_until(executor, lambda reports: any(isinstance(report, Warned) for report in reports))
        warned = [report.sentence for report in reports if isinstance(report, Warned)]
        assert warned[0].startswith("no job of Slurm runs: job ")
    finally:
        executor.close()


@pytest.mark.slow
def test_a_queue_that_does_not_answer_for_a_while_loses_nothing(tmp_path: Path, slurm: FakeSlurm) -> None:
    executor = an_executor(tmp_path, workers=1)
    try:
        executor.start(a_study())
        (slurm.directory / "down").touch()
        executor.submit(a_task(700))
        reports = reports_until(executor, ended(1))
        assert isinstance(reports[-1], Measured)
        (slurm.directory / "down").unlink()
        executor.submit(a_task(20))
        assert isinstance(reports_until(executor, ended(1))[-1], Measured)
        assert len(slurm.jobs()) == 1
    finally:
        executor.close()


@pytest.mark.slow
def test_a_group_goes_to_a_machine_of_its_kind_or_is_given_back(
    tmp_path: Path,
    slurm: FakeSlurm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor = tmp_path / "processor"
    processor.write_text("old")
    monkeypatch.setenv(sleeping_worker.PROCESSOR, str(processor))
    executor = an_executor(tmp_path, workers=2)
    try:
        old = executor.start(a_study()).environment.fingerprint
        reports_until(executor, lambda reports: len(executor.workers()) == 2)
        _, second = slurm.running()
        processor.write_text("new")
        slurm.end(second, "PREEMPTED")
        # There is work for two, so that another job comes, on another kind of machine.
        for task in (a_task(1500), a_task(1501), a_task(1502)):
            executor.submit(task)
        before = reports_until(executor, lambda reports: len(set(executor.free()) - {"", old}) == 1)
        (new,) = set(executor.free()) - {"", old}
        executor.submit(a_task(11, environment=new))
        executor.submit(a_task(12, environment=old))
        executor.submit(a_task(13, environment="none has it"))
        reports = before + reports_until(executor, lambda reports: ended(6)([*before, *reports]))
        where = {
            report.outcomes[0].record.case.length: report.environment.fingerprint
            for report in reports
            if isinstance(report, Measured)
        }
        assert (where[11], where[12]) == (new, old)
        (lost,) = [report for report in reports if isinstance(report, Lost)]
        assert lost.task == a_task(13).id
        assert "no job runs any more on a machine like that" in lost.reason
    finally:
        executor.close()


def test_what_slurm_or_the_machine_refuses_is_one_sentence(tmp_path: Path, slurm: FakeSlurm) -> None:
    from pyprof.executors.slurm_executor import SlurmExecutor

    executor = SlurmExecutor(tmp_path, 1, Resources(partition="nowhere"), pace=QUICK)
    with pytest.raises(UsageError, match=r"^Slurm does not take the jobs: .*invalid partition specified: nowhere"):
        executor.start(a_study())
    executor.close()
    refusing = an_executor(tmp_path, workers=1)
    with pytest.raises(UsageError, match=r"^this machine has no such device$"):
        refusing.start(a_study(seed=13))
    refusing.close()
    dying = an_executor(tmp_path, workers=1, worker="sleeping_worker:dying")
    with pytest.raises(UsageError, match=r"jobs of Slurm end before they can measure: .*\(the rest is in "):
        dying.start(a_study())
    dying.close()


@pytest.mark.slow
def test_jobs_that_all_end_at_once_leave_no_worker(tmp_path: Path, slurm: FakeSlurm) -> None:
    executor = an_executor(tmp_path, workers=1)
    try:
        executor.start(a_study())
        slurm.crash(slurm.running()[0])
        executor._orders = type(executor._orders)(executor._orders.directory, "sleeping_worker:dying", 20.0)
        executor.submit(a_task(10))
        with pytest.raises(IncompleteError, match="no worker is left, as jobs end before they can measure: "):
            reports_until(executor, ended(1))
    finally:
        executor.close()


def test_options_are_passed_on_to_sbatch(tmp_path: Path, slurm: FakeSlurm) -> None:
    pairs = ("partition=gpu", "account=lab", "time=90 min", "cpus=4", "gpus=1", "memory=8G", "constraint=a100")
    options = registry.options_of(registry.kind_of("slurm"), (*pairs, "sbatch=--nice=100 --exclusive", "idle=3 min"))
    executor = registry.create("slurm", Asked(tmp_path, "3", options))
    queue = Queue("apyprof", tmp_path / "logs", executor._resources)
    queue.submit(3, print, "done")
    jobs = slurm.jobs()
    assert len(jobs) == 3
    given = jobs["1_0"]["options"]
    expected = {
        "partition": "gpu",
        "account": "lab",
        "time": "90",
        "cpus-per-task": "4",
        "gpus-per-node": "1",
        "mem": "8G",
        "constraint": "a100",
        "nice": "100",
        "exclusive": "",
        "no-requeue": "",
    }
    assert {name: given.get(name) for name in expected} == expected
    queue.cancel()


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("cpus=none", "cpus must be a whole number, not 'none'"),
        ("cpus=0", "cpus must be at least 1, not 0"),
        ("time=soon", "time: 'soon' is not a duration"),
        ("sbatch=nice", "takes long options of sbatch"),
        ("partitions=gpu", "partition"),
    ],
)
def test_a_wrong_option_is_one_sentence(pair: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        registry.options_of(registry.kind_of("slurm"), (pair,))


def test_a_machine_without_slurm_or_submitit_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="srun is not on this machine"):
        registry.create("slurm", Asked(tmp_path))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"needs submitit, .*pip install 'pyprof-transformers\[slurm\]'"):
        registry.create("slurm", Asked(tmp_path))
    with pytest.raises(UsageError, match="--workers must be a whole number, not 'many'"):
        registry.create("slurm", Asked(tmp_path, "many"))
    assert not os.listdir(tmp_path)

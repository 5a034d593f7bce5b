"""The executor slurm on Slurm itself, where it is installed: two partitions of one processor on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sleeping_worker
from cluster_tests import HERE, PYTHONPATH, WORKER, a_study, a_task, ended, log_of, reports_until
from real_slurm import RealSlurm, missing

from pyprof.executors.slurm_executor import Pace, SlurmExecutor
from pyprof.executors.slurm_queue import Resources
from pyprof.records.executor import Began, Lost, Measured

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]
QUICK = Pace(look=0.1, ask=0.5, idle=20.0)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSlurm]:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'pyprof-transformers[slurm]'")
    made = RealSlurm(tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def slurm_itself(cluster: RealSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealSlurm]:
    for name, value in cluster.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setenv(sleeping_worker.LOG, str(tmp_path / "log"))
    yield cluster
    left = cluster.told("squeue", "-h").split("\n")
    assert not [line for line in left if line and " CG " not in line]


def an_executor(directory: Path, workers: int, partition: str, *, resumed: bool = False) -> SlurmExecutor:
    resources = Resources(partition=partition, minutes=5)
    return SlurmExecutor(directory, workers, resources, resumed=resumed, worker=WORKER, pace=QUICK)


def test_two_partitions_measure_and_what_ends_is_replaced(tmp_path: Path, slurm_itself: RealSlurm) -> None:
    executor = an_executor(tmp_path, 2, "first,second")
    try:
        executor.start(a_study())
        reports_until(executor, lambda reports: len(executor.workers()) == 2)
        nodes = slurm_itself.told("squeue", "-h", "-t", "R", "-o", "%N").split()
        assert nodes == ["one"] or sorted(nodes) == ["one", "two"]
        for length in (300, 301, 302, 303):
            executor.submit(a_task(length))
        reports = reports_until(executor, ended(4))
        assert len([report for report in reports if isinstance(report, Measured)]) == 4
        assert len({process for process, _ in log_of(tmp_path)}) == 2

        cancelled, killed = a_task(60_000), a_task(60_001)
        executor.submit(cancelled)
        executor.submit(killed)
        reports_until(executor, lambda reports: sum(isinstance(report, Began) for report in reports) == 2)
        started = {lengths: process for process, lengths in log_of(tmp_path)}
        owner = next(worker for worker, tasks in executor._spool.taken().items() if cancelled in tasks)
        slurm_itself.told("scancel", owner)
        os.kill(started["60001"], signal.SIGKILL)
        lost = {report.task: report for report in reports_until(executor, ended(2)) if isinstance(report, Lost)}
        assert (lost[cancelled.id].reason, lost[cancelled.id].counts) == (f"job {owner} was cancelled", False)
        assert lost[killed.id].counts
        executor.submit(a_task(10))
        assert isinstance(reports_until(executor, ended(1))[-1], Measured)
    finally:
        begin = time.monotonic()
        executor.close()
        assert time.monotonic() - begin < 5


def test_a_preempted_job_gives_its_group_back(tmp_path: Path, slurm_itself: RealSlurm) -> None:
    executor = an_executor(tmp_path, 1, "first")
    try:
        executor.start(a_study())
        task = a_task(60_000)
        executor.submit(task)
        reports_until(executor, lambda reports: any(isinstance(report, Began) for report in reports))
        slurm_itself.told("sbatch", "-p", "urgent", "-o", "/dev/null", "--wrap", "sleep 2")
        (lost,) = [report for report in reports_until(executor, ended(1)) if isinstance(report, Lost)]
        assert (lost.task, lost.counts) == (task.id, False)
        assert lost.reason.endswith("was preempted")
        executor.submit(a_task(10))
        assert isinstance(reports_until(executor, ended(1))[-1], Measured)
    finally:
        executor.close()


RUN = """
import sys
from pathlib import Path
from cluster_tests import a_study, a_task
from test_slurm_itself import an_executor
executor = an_executor(Path(sys.argv[1]), 2, "first,second")
try:
    executor.start(a_study())
    for length in map(int, sys.argv[2:]):
        executor.submit(a_task(length))
    while True:
        for report in executor.wait(1.0):
            print(type(report).__name__, flush=True)
except KeyboardInterrupt:
    executor.close()
"""


def a_run(directory: Path, *lengths: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(directory), *map(str, lengths)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE)
    assert process.stdout is not None
    assert process.stdout.readline() == "Began\n"
    return process


def test_a_run_that_is_killed_finds_its_groups_and_one_that_is_interrupted_ends_them(
    tmp_path: Path, slurm_itself: RealSlurm
) -> None:
    with a_run(tmp_path, 2000, 2001, 500) as process:
        process.kill()
    executor = an_executor(tmp_path, 2, "first,second", resumed=True)
    try:
        executor.start(a_study())
        assert len(executor.found()) == 3
        reports = reports_until(executor, ended(3))
        assert len({report.task for report in reports if isinstance(report, Measured)}) == 3
        assert sorted(lengths for _, lengths in log_of(tmp_path)) == ["2000", "2001", "500"]
        executor.wait(0)
    finally:
        executor.close()
    with a_run(tmp_path, 60_000, 60_001) as process:
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert time.monotonic() - begin < 5
    assert process.returncode == 0

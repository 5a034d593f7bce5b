"""The executor ray on a cluster of this machine: what happens to groups when actors and runs end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sleeping_worker
from cluster_tests import WORKER, a_study, a_task, ended, log_of, reports_until
from ray_tests import none_left, processes

from pyprof.errors import UsageError
from pyprof.executors import registry
from pyprof.executors.kind import Asked
from pyprof.executors.ray_executor import RayExecutor, Wanted
from pyprof.records.executor import Began, Lost, Measured

HERE = Path(__file__).parent


@pytest.mark.slow
def test_actors_stay_and_one_that_ends_costs_its_group_alone(tmp_path: Path, ray_mark: str) -> None:
    executor = RayExecutor(Wanted(), 2, worker=WORKER)
    try:
        ready = executor.start(a_study())
        assert ready.study.threads == 1
        assert executor.found() == ()
        while len(executor.free()) < 2:
            assert executor.wait(30.0) == []
        assert set(executor.free()) == {ready.environment.fingerprint}
        assert len(executor.workers()) == 2

        tasks = [a_task(300, 200), a_task(301, 200)]
        for task in tasks:
            executor.submit(task)
        assert executor.free() == []
        reports = reports_until(executor, ended(2))
        measured = {report.task: report for report in reports if isinstance(report, Measured)}
        assert measured.keys() == {task.id for task in tasks}
        assert sorted(report.task for report in reports if isinstance(report, Began)) == sorted(measured)
        for task in tasks:
            records = [outcome.record for outcome in measured[task.id].outcomes]
            assert [record.case for record in records] == list(task.cases)
            assert {record.place.group for record in records} == {task.group}
        assert len({process for process, _ in log_of(tmp_path)}) == 2

        # One of two is killed, one of two hangs: the others are measured, and both are replaced.
        killed, steady = a_task(20_000), a_task(2000)
        executor.submit(killed)
        executor.submit(steady)
        reports_until(executor, lambda reports: sum(isinstance(report, Began) for report in reports) == 2)
        deadline = time.monotonic() + 10
        while "20000" not in (started := {lengths: process for process, lengths in log_of(tmp_path)}):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(started["20000"], signal.SIGKILL)
        reports = reports_until(executor, ended(2))
        (lost,) = [report for report in reports if isinstance(report, Lost)]
        assert (lost.task, lost.counts) == (killed.id, True)
        assert lost.reason.startswith("its worker of Ray ended: ")
        assert "\n" not in lost.reason
        assert lost.place is not None
        assert [report.task for report in reports if isinstance(report, Measured)] == [steady.id]
        hanging = a_task(sleeping_worker.HANGS, allowed=1.0)
        executor.submit(hanging)
        (lost,) = [report for report in reports_until(executor, ended(1)) if isinstance(report, Lost)]
        assert (lost.task, lost.reason) == (hanging.id, "its worker of Ray gave no answer for 1.00 s")

        executor.submit(a_task(10, environment="none has it"))
        (lost,) = executor.wait(0)
        assert isinstance(lost, Lost)
        assert lost.reason == "no worker is left on a machine like that of what it is compared with"
        while len(executor.free()) < 2:
            executor.wait(30.0)
        executor.submit(a_task(10))
        assert isinstance(reports_until(executor, ended(1))[-1], Measured)
    finally:
        begin = time.monotonic()
        executor.close()
        assert time.monotonic() - begin < 5
    executor.close()


RUN = """
import sys
from cluster_tests import WORKER, a_study, a_task
from pyprof.executors.ray_executor import RayExecutor, Wanted
executor = RayExecutor(Wanted(), 1, worker=WORKER)
try:
    executor.start(a_study())
    executor.submit(a_task(60_000))
    while True:
        for report in executor.wait(1.0):
            print(type(report).__name__, flush=True)
except KeyboardInterrupt:
    executor.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_leaves_no_process(tmp_path: Path, ray_mark: str, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True, cwd=HERE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Began\n"
        assert len(processes(ray_mark)) > 3
        begin = time.monotonic()
        process.send_signal(number)
        process.wait(20)
        assert none_left(ray_mark, 5.0 - (time.monotonic() - begin))
    assert process.returncode == (0 if number == signal.SIGINT else -number)


@pytest.mark.slow
def test_what_a_cluster_cannot_give_is_one_sentence(tmp_path: Path, ray_mark: str) -> None:
    executor = RayExecutor(Wanted(gpus=3), 1, worker=WORKER)
    with pytest.raises(UsageError, match=r"^this machine has not the 3 GPU that a worker of Ray is to have"):
        executor.start(a_study())
    executor.close()
    executor = RayExecutor(Wanted(), 1, worker=WORKER)
    with pytest.raises(UsageError, match=r"^this machine has no such device$"):
        executor.start(a_study(seed=13))
    executor.close()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "127.0.0.1:99999"])
def test_where_no_cluster_is_that_is_said_at_once(ray_mark: str, address: str) -> None:
    executor = RayExecutor(Wanted(), 1, address=address, worker=WORKER)
    begin = time.monotonic()
    with pytest.raises(UsageError, match=f"^there is no Ray cluster at {address} "):
        executor.start(a_study())
    assert time.monotonic() - begin < 15
    executor.close()


def test_a_wrong_option_is_one_sentence() -> None:
    kind = registry.kind_of("ray")
    assert registry.options_of(kind, ("cpus=2", 'resources={"a100": 1}')) == {"cpus": 2, "resources": {"a100": 1.0}}
    for pair, says in (
        ("cpus=0", "cpus must be at least 1"),
        ("gpus=many", "gpus must be a whole number"),
        ("resources=a100", "resources must be a JSON object"),
        ('resources={"a100": "one"}', "resources: a100 must be a number"),
        ("adress=here", "address"),
    ):
        with pytest.raises(UsageError, match=says):
            registry.options_of(kind, (pair,))


def test_a_machine_without_ray_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs the package ray, .*pip install 'pyprof-transformers\[ray\]'"):
        registry.create("ray", Asked(tmp_path))

"""Several workers of this machine: who gets what, what is lost with a worker, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_machine import make_study
from simulated_worker import SleepingWorker, seated
from sleeping_run import run, sleeping_devices, sleeping_study

from pyprof.errors import IncompleteError, PyprofError, UsageError
from pyprof.executors.devices import DevicesExecutor
from pyprof.executors.seats import VISIBLE, Seat
from pyprof.records.case import Case
from pyprof.records.executor import Lost, Measured, Ready, Task
from pyprof.records.run_directory import read
from pyprof.records.study import Study
from pyprof.study.run import Event, StudyInterrupted, run_study

TESTS = Path(__file__).parents[1]


def children() -> list[int]:
    """The processes that this one has started and that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def eventually(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_groups_go_to_whoever_is_free_and_are_never_split(tmp_path: Path) -> None:
    workers = [SleepingWorker(0.02) for _ in range(3)]
    result = run_study(sleeping_study(12), tmp_path / "run", executor=seated(*workers))
    assert result.counts == {"ok": 24}
    groups = [group for worker in workers for group in worker.groups]
    assert {len(group) for group in groups} == {2}
    assert {len({case.length for case in group}) for group in groups} == {1}
    assert all(len(worker.groups) >= 2 for worker in workers)
    kept = read(tmp_path / "run").records
    assert kept == result.records
    places = {record.case.length: set() for record in kept.values()}
    for record in kept.values():
        assert record.place is not None
        places[record.case.length].add(record.place)
    # What is compared was measured at one place, as one group of two.
    assert {len(each) for each in places.values()} == {1}
    (one, *_) = places[16]
    assert (one.attempt, one.together) == (1, 2)
    assert {place.device for each in places.values() for place in each} == {"0", "1", "2"}


def test_progress_names_the_workers(tmp_path: Path) -> None:
    events: list[Event] = []
    run_study(
        sleeping_study(6),
        tmp_path / "run",
        executor=seated(SleepingWorker(0.01), SleepingWorker(0.01)),
        progress=events.append,
    )
    finished = [event for event in events if event.kind == "finished"]
    assert {event.place.device for event in finished if event.place is not None} == {"0", "1"}
    assert [event.done for event in finished] == list(range(1, 13))
    assert {event.total for event in events} == {12}


def test_what_is_lost_with_its_worker_is_measured_elsewhere_and_says_so(tmp_path: Path) -> None:
    fail = fail_once(32)
    first, second = SleepingWorker(0.01, failing=fail), SleepingWorker(0.01, failing=fail)
    told: list[str] = []
    result = run_study(sleeping_study(4), tmp_path / "run", executor=seated(first, second), say=told.append)
    assert result.counts == {"ok": 8}
    again = [record for record in result.records.values() if record.case.length == 32]
    assert len(again) == 2
    for record in again:
        assert record.place is not None
        assert record.place.attempt == 2
        (note,) = record.notes
        assert note.startswith(f"measured at attempt {record.place.attempt}, as the worker was lost before: the card")
    assert [record.notes for record in result.records.values() if record.case.length != 32] == [()] * 6
    assert any("lost its worker on" in sentence and "the card has left" in sentence for sentence in told)
    assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 8


def fail_once(length: int) -> Callable[[Sequence[Case]], None]:
    failed = []

    def fail(cases: Sequence[Case]) -> None:
        if cases[0].length == length and not failed:
            failed.append(True)
            raise PyprofError("the card has left")

    return fail


def test_a_group_that_ends_every_worker_is_an_error_after_three(tmp_path: Path) -> None:
    def fail(cases: Sequence[Case]) -> None:
        if cases[0].length == 16:
            raise PyprofError("it burns")

    workers = [SleepingWorker(0.005, failing=fail) for _ in range(4)]
    result = run_study(sleeping_study(5), tmp_path / "run", executor=seated(*workers))
    assert result.counts == {"ok": 8, "error": 2}
    lost = [record for record in result.records.values() if record.status == "error"]
    assert {record.case.length for record in lost} == {16}
    for record in lost:
        assert record.reason is not None
        assert record.reason.startswith("its worker was lost 3 times (on ")
        assert record.reason.endswith("the last time because it burns")
    tried = [worker for worker in workers if any(group[0].length == 16 for group in worker.groups)]
    # Elsewhere each time, as there were others.
    assert len(tried) == 3


def test_a_worker_that_only_loses_groups_is_retired(tmp_path: Path) -> None:
    def fail(cases: Sequence[Case]) -> None:
        raise PyprofError("it is broken")

    broken, well = SleepingWorker(failing=fail), SleepingWorker(0.02)
    told: list[str] = []
    result = run_study(sleeping_study(12), tmp_path / "run", executor=seated(broken, well), say=told.append)
    assert result.counts == {"ok": 24}
    assert len(broken.groups) == 3
    assert any(sentence.startswith("the worker on 0 of ") and "no more groups" in sentence for sentence in told)


def test_where_no_worker_is_left_what_was_measured_is_kept(tmp_path: Path) -> None:
    def fail(cases: Sequence[Case]) -> None:
        if cases[0].length > 32:
            raise PyprofError("it is broken")

    with pytest.raises(IncompleteError, match="no worker is left") as caught:
        run_study(sleeping_study(12), tmp_path / "run", executor=seated(SleepingWorker(failing=fail)))
    assert caught.value.exit_code == 3
    # The group that it was lost with is an error, which a resumed run tries again.
    assert sorted(record.status for record in read(tmp_path / "run").records.values()) == ["error"] * 2 + ["ok"] * 4
    result = run_study(None, tmp_path / "run", resume=True, executor=seated(SleepingWorker()))
    assert result.counts == {"ok": 24}


def test_a_seat_whose_worker_cannot_start_is_done_without(tmp_path: Path) -> None:
    class Absent(SleepingWorker):
        def start(self, study: object) -> None:  # type: ignore[override]
            raise PyprofError("there is no such card")

    told: list[str] = []
    result = run_study(
        sleeping_study(2), tmp_path / "run", executor=seated(Absent(), SleepingWorker(), Absent()), say=told.append
    )
    assert result.counts == {"ok": 4}
    assert [sentence.split(" of ")[0] for sentence in told] == ["the worker on 0", "the worker on 2"]


def test_a_study_that_a_worker_refuses_is_refused(tmp_path: Path) -> None:
    class Refusing(SleepingWorker):
        def start(self, study: object) -> None:  # type: ignore[override]
            raise UsageError("there is no device tpu")

    with pytest.raises(UsageError, match="there is no device tpu"):
        run_study(sleeping_study(2), tmp_path / "run", executor=seated(Refusing(), SleepingWorker()))


def test_unlike_workers_are_kept_apart_and_no_ratio_is_taken_across(tmp_path: Path) -> None:
    one, other = SleepingWorker(0.01, cpu="Xeon"), SleepingWorker(0.01, cpu="EPYC")
    told: list[str] = []
    study = make_study(
        modes=["infer", "train"],
        comparison=[
            {"vanilla": "bert", "variants": ["longformer"], "lengths": [64, 128, 256, 512], "implementations": ["then"]}
        ],
    )
    result = run_study(study, tmp_path / "run", executor=seated(one, other), say=told.append)
    assert result.counts == {"ok": 16}
    run = read(tmp_path / "run")
    assert {each.cpu for each in run.environments.values()} == {"Xeon", "EPYC"}
    by_mode = {
        mode: {record.environment for record in run.records.values() if record.case.mode == mode}
        for mode in ("infer", "train")
    }
    # A curve stays with the kind of device that began it, so that it is whole.
    assert {len(environments) for environments in by_mode.values()} == {1}
    assert by_mode["infer"] != by_mode["train"]
    assert any("workers differ (processor: Xeon against EPYC)" in sentence for sentence in told)


def test_a_curve_goes_on_elsewhere_where_its_kind_of_device_is_gone(tmp_path: Path) -> None:
    def fail(cases: Sequence[Case]) -> None:
        if cases[0].length > 64:
            raise PyprofError("it is broken")

    told: list[str] = []
    first, second = SleepingWorker(cpu="Xeon", failing=fail), SleepingWorker(cpu="EPYC")
    result = run_study(sleeping_study(12), tmp_path / "run", executor=seated(first, second), say=told.append)
    assert result.counts["ok"] == 24
    assert len({record.environment for record in result.records.values()}) == 2
    assert any("goes on with another kind of device" in sentence for sentence in told)


def test_real_processes_measure_and_are_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPING_SECONDS", "0.01")
    before = children()
    assert run(tmp_path / "run", 2, 6).counts == {"ok": 12}
    eventually(lambda: children() == before)


def test_a_process_that_is_killed_costs_its_group_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPING_SECONDS", "0.3")
    killed = []

    def kill(event: Event) -> None:
        if event.kind == "started" and not killed:
            killed.append(children()[0])
            os.kill(killed[0], signal.SIGKILL)

    told: list[str] = []
    executor = sleeping_devices(2)
    result = run_study(sleeping_study(4), tmp_path / "run", executor=executor, progress=kill, say=told.append)
    assert killed
    assert result.counts == {"ok": 8}
    attempts = sorted(record.place.attempt for record in result.records.values() if record.place is not None)
    assert attempts == [1] * 6 + [2] * 2
    assert any("killed" in sentence for sentence in told)


def test_a_process_that_hangs_costs_its_group_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = tmp_path / "hang"
    hang.touch()
    monkeypatch.setenv("SLEEPING_HANG", str(hang))
    monkeypatch.setattr("pyprof.executors.serve.HANGING", 0.0001)
    told: list[str] = []
    study = sleeping_study(3, timeout=0.4)
    result = run_study(study, tmp_path / "run", executor=sleeping_devices(2), say=told.append)
    assert result.counts == {"ok": 6}
    assert any("hung" in sentence for sentence in told)


def test_the_end_of_the_coordinator_is_that_of_its_workers(tmp_path: Path) -> None:
    environment = {**os.environ, "SLEEPING_SECONDS": "30", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    log = tmp_path / "log"
    command = [sys.executable, str(TESTS / "sleeping_run.py"), str(tmp_path / "run"), "2", "4"]
    with subprocess.Popen(command, env={**environment, "SLEEPING_LOG": str(log)}) as coordinator:
        eventually(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
        workers = of_parent(coordinator.pid)
        assert len(workers) == 2
        coordinator.kill()
    eventually(lambda: not any(alive(worker) for worker in workers), 5.0)


def of_parent(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_interruption_stops_all_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPING_SECONDS", "60")
    before = children()
    interrupted = []

    def interrupt(event: Event) -> None:
        if len(children()) == len(before) + 2 and not interrupted:
            interrupted.append(time.monotonic())
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(StudyInterrupted):
        run_study(sleeping_study(4), tmp_path / "run", executor=sleeping_devices(2), progress=interrupt)
    assert time.monotonic() - interrupted[0] < 5.0
    assert children() == before


def test_workers_of_the_host_share_its_memory_and_threads(tmp_path: Path) -> None:
    seen = []

    class Seeing(SleepingWorker):
        def start(self, study):  # type: ignore[no-untyped-def]
            seen.append((study.threads, study.memory_budget))
            return super().start(study)

    core = min(os.sched_getaffinity(0))
    seats = [Seat("a", frozenset({core})), Seat("b", frozenset({core}))]

    def make(variables: Mapping[str, str]) -> SleepingWorker:
        return Seeing()

    run_study(sleeping_study(1), tmp_path / "run", executor=DevicesExecutor(seats, make))
    assert [threads for threads, _ in seen] == [1, 1]
    assert seen[0][1] is not None


def test_a_worker_runs_on_the_cores_of_its_seat(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    ran = {}

    class Noting(SleepingWorker):
        def measure_together(self, cases):  # type: ignore[no-untyped-def]
            ran[threading.get_ident()] = os.sched_getaffinity(0)
            time.sleep(0.05)
            return super().measure_together(cases)

    seats = [Seat(f"cores {core}", frozenset({core})) for core in cores[:2]]
    run_study(sleeping_study(4), tmp_path / "run", executor=DevicesExecutor(seats, lambda variables: Noting()))
    assert sorted(map(sorted, ran.values())) == [[core] for core in cores[:2]]
    assert sorted(os.sched_getaffinity(0)) == cores


def sharded_study(ranks: int, lengths: int = 3) -> Study:
    """A model in one process beside one over several, and another comparison beside these."""
    comparison = {"lengths": [16 * number for number in range(1, lengths + 1)], "implementations": ["now"]}
    return make_study(
        comparison=[
            {"vanilla": "some:plain", "variants": ["some:sharded"], **comparison},
            {"vanilla": "other:one", "variants": ["other:two"], **comparison},
        ],
        ranks={"some:sharded": ranks},
    )


def test_a_sharded_model_has_as_many_devices_as_ranks(tmp_path: Path) -> None:
    made: list[tuple[Mapping[str, str], SleepingWorker, Study]] = []

    class Worker(SleepingWorker):
        def __init__(self, variables: Mapping[str, str]) -> None:
            super().__init__(0.02)
            self.variables = variables

        def start(self, study: Study) -> Ready:
            made.append((self.variables, self, study))
            return super().start(study)

    seats = [Seat(f"cuda:{number}", variables={VISIBLE: str(number)}) for number in range(3)]
    result = run_study(sharded_study(2), tmp_path / "run", executor=DevicesExecutor(seats, Worker))
    assert result.counts == {"ok": 12}
    alone = [worker for variables, worker, _ in made if "," not in variables[VISIBLE]]
    joint = {variables[VISIBLE]: worker for variables, worker, _ in made if "," in variables[VISIBLE]}
    assert len(alone) == 3
    assert joint.keys() <= {"0,1", "1,2", "0,2", "1,0", "2,1", "2,0"}
    assert sorted({case.model for worker in joint.values() for group in worker.groups for case in group}) == [
        "some:plain",
        "some:sharded",
    ]
    assert {case.model for worker in alone for group in worker.groups for case in group} == {"other:one", "other:two"}
    places = {record.place.device for record in result.records.values() if record.place and record.case.ranks == 2}
    assert all(" and " in place for place in places)
    assert all(worker.closed for _, worker, _ in made)


def test_a_sharded_model_on_sets_of_cores_has_their_threads_and_memory() -> None:
    study = replace(sharded_study(2), device="cpu", memory_budget=2**20)
    core = min(os.sched_getaffinity(0))
    started: list[Study] = []

    class Worker(SleepingWorker):
        def start(self, study: Study) -> Ready:
            started.append(study)
            return replace(super().start(study), study=replace(study, device="cpu"))

    executor = DevicesExecutor(
        [Seat("cores 0", frozenset({core})), Seat("cores 1", frozenset({core}))], lambda variables: Worker()
    )
    try:
        executor.start(study)
        executor.submit(Task.of((Case("some:sharded", 16, ranks=2),), 1.0, 10.0))
        assert executor.free() == ()
        eventually(lambda: any(isinstance(report, Measured) for report in executor.wait(1.0)))
    finally:
        executor.close()
    assert [(each.threads, each.memory_budget) for each in started] == [(1, 2**20), (1, 2**20), (2, 2**21)]


def test_what_comes_later_does_not_take_the_devices_that_a_sharded_model_waits_for() -> None:
    workers = [SleepingWorker(0.1), SleepingWorker(0.3), SleepingWorker(0.01)]
    made = iter(workers)
    executor = DevicesExecutor([Seat("0"), Seat("1")], lambda variables: next(made))
    try:
        executor.start(sharded_study(2))
        for length in (16, 32):
            executor.submit(Task.of((Case("other:one", length),), 1.0, 10.0))
        executor.submit(Task.of((Case("some:sharded", 16, ranks=2),), 1.0, 10.0))
        executor.submit(Task.of((Case("other:one", 48),), 1.0, 10.0))
        done: list[Task] = []
        while len(done) < 4:
            assert executor.free() == () or len(done) >= 2
            done += [report for report in executor.wait(5.0) if isinstance(report, Measured)]
    finally:
        executor.close()
    assert workers[2].groups == [(Case("some:sharded", 16, ranks=2),)]
    assert sum(len(worker.groups) for worker in workers) == 4


def test_more_ranks_than_devices_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"over 4 ranks, which needs as many devices, and there are 2: give --workers 4"
    ):
        run_study(sharded_study(4), tmp_path / "run", executor=seated(SleepingWorker(), SleepingWorker()))


def test_a_sharded_model_whose_devices_have_gone_is_lost_with_a_sentence() -> None:
    def fail(cases: Sequence[Case]) -> None:
        raise PyprofError("it is broken")

    made = iter([SleepingWorker(), SleepingWorker(failing=fail)])
    executor = DevicesExecutor([Seat("0"), Seat("1")], lambda variables: next(made))
    try:
        executor.start(sharded_study(2))
        well = executor.workers()[0]
        for length in (16, 32, 48):
            executor.submit(replace(Task.of((Case("other:one", length),), 1.0, 10.0), avoid=(well.seat,)))
            lost_by(executor)
        assert executor.workers() == (well,)
        executor.submit(Task.of((Case("some:sharded", 16, ranks=2),), 1.0, 10.0))
        assert lost_by(executor) == "it needs 2 devices at once, and there are no more than 1"
    finally:
        executor.close()


def lost_by(executor: DevicesExecutor) -> str:
    """Why the next group is lost."""
    while True:
        for report in executor.wait(5.0):
            if isinstance(report, Lost):
                return report.reason

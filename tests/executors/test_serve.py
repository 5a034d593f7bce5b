"""What a worker of many makes of its task: a result, or a loss that is none of the cases' fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from simulated_machine import make_environment, make_study
from simulated_worker import figures

from pyprof.errors import PyprofError
from pyprof.executors import serve
from pyprof.executors.serve import measure_task, memory_kills, place_of
from pyprof.failures import Status
from pyprof.records.case import Case
from pyprof.records.environment import Gpu
from pyprof.records.executor import Began, Lost, Measured, Outcome, Ready, Task, Warned, by_itself, report_from_json
from pyprof.records.place import Place
from pyprof.worker.executors import TOOK_TOO_LONG
from pyprof.worker.obituary import KILLED

CASES = (Case("bert", 64), Case("longformer", 64))
READY = Ready(make_study(), make_environment())
HERE = Place("node7", "cuda:0 GPU-1")


class Scripted:
    """A worker whose first case has a status and a reason, or notes."""

    def __init__(self, status: Status = "ok", reason: str | None = None, notes: tuple[str, ...] = ()) -> None:
        self.ending = {"status": status, "reason": reason, "notes": notes}
        self.closed = False

    def start(self, study: object) -> Ready:
        return READY

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        first, *others = figures(cases, READY.environment, 1.0)
        yield replace(first, record=replace(first.record, **self.ending))
        yield from others

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def kills(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """How many processes the system has killed, before and after."""
    counts: list[int | None] = [0, 0]
    calls = count()
    monkeypatch.setattr(serve, "memory_kills", lambda: counts[next(calls) % 2])
    return counts


def task(**changes: object) -> Task:
    return replace(Task.of(CASES, 2.0, 100.0), **changes)  # type: ignore[arg-type]


def test_records_carry_the_place_and_the_attempt() -> None:
    report = measure_task(Scripted(), READY, task(attempt=2), HERE)
    assert isinstance(report, Measured)
    assert report.last
    (place,) = {outcome.record.place for outcome in report.outcomes}
    assert place == Place("node7", "cuda:0 GPU-1", 2, task().group, 2)
    assert str(place) == "cuda:0 GPU-1 of node7"


@pytest.mark.parametrize(
    "reason",
    [
        "RuntimeError: CUDA error: unspecified launch failure",
        "AcceleratorError: CUDA error: uncorrectable ECC error encountered",
        "RuntimeError: No CUDA GPUs are available",
    ],
)
def test_a_lost_gpu_loses_the_group_and_its_process(reason: str) -> None:
    worker = Scripted("error", reason)
    report = measure_task(worker, READY, task(), HERE)
    assert isinstance(report, Lost)
    assert report.reason == f"its device failed: {reason}"
    assert report.counts
    assert worker.closed
    # The last attempt stands as it is.
    assert isinstance(measure_task(Scripted("error", reason), READY, task(last=True), HERE), Measured)


@pytest.mark.parametrize(
    ("status", "reason"), [("oom", "CUDA out of memory"), ("error", "ValueError: a head too many")]
)
def test_what_is_the_cases_own_fault_stands(status: Status, reason: str) -> None:
    assert isinstance(measure_task(Scripted(status, reason), READY, task(), HERE), Measured)


def test_who_was_killed_by_the_system_may_need_more_memory(kills: list[int | None]) -> None:
    kills[:] = [3, 4]
    report = measure_task(Scripted("oom", KILLED), READY, task(), HERE)
    assert isinstance(report, Lost)
    assert report.counts
    assert isinstance(measure_task(Scripted("oom", KILLED), READY, task(last=True), HERE), Measured)


@pytest.mark.parametrize("last", [False, True])
def test_who_was_killed_by_somebody_else_is_not_to_blame(last: bool) -> None:
    for worker in (Scripted("oom", KILLED), Scripted(notes=(by_itself(KILLED),))):
        report = measure_task(worker, READY, task(last=last), HERE)
        assert isinstance(report, Lost)
        assert not report.counts


def test_where_the_system_does_not_count_a_kill_counts(kills: list[int | None]) -> None:
    kills[:] = [None, None]
    report = measure_task(Scripted("oom", KILLED), READY, task(), HERE)
    assert isinstance(report, Lost)
    assert report.counts


def test_a_short_group_that_takes_all_its_time_has_met_a_worker_that_hangs() -> None:
    late = Scripted("timeout", "it took longer than the 15 min allowed for one case")
    quick = task(seconds=1e-9)
    report = measure_task(late, READY, quick, HERE)
    assert isinstance(report, Lost)
    assert report.reason.startswith("its worker hung: ")
    assert isinstance(measure_task(Scripted(notes=(by_itself(TOOK_TOO_LONG),)), READY, quick, HERE), Lost)
    # A second worker says the same, or it was predicted to be long.
    assert isinstance(measure_task(late, READY, replace(quick, attempt=2), HERE), Measured)
    assert isinstance(measure_task(late, READY, task(seconds=600.0), HERE), Measured)


def test_a_worker_that_fails_itself_loses_the_group() -> None:
    class Failing(Scripted):
        def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome]:
            raise PyprofError("the measuring process could not start")

    report = measure_task(Failing(), READY, task(last=True), HERE)
    assert report == Lost(
        task().id, "the measuring process could not start", Place("node7", HERE.device, 1, task().group, 2)
    )


def test_the_system_tells_how_many_it_has_killed(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    assert memory_kills(counters) is None
    counters.write_text("nr_free_pages 12\noom_kill 7\nswap_ra 0\n")
    assert memory_kills(counters) == 7


def test_a_worker_is_named_after_its_gpu_or_its_cores() -> None:
    environment = make_environment()
    assert place_of(environment).device.startswith("cores ")
    card = Gpu("H100", "GPU-5f", "9.0", 2**36)
    assert place_of(replace(environment, gpus=(card,)), "node3") == Place("node3", "cuda:0 GPU-5f")


def test_tasks_and_reports_travel_as_json() -> None:
    sent = task(attempt=2, last=True, avoid=(("node7", "cuda:0"),), environment="abc")
    assert Task.from_json(sent.to_json()) == sent
    assert (sent.id, sent.group) == (f"{task().group}-2", Task.of(CASES[::-1], 1.0, 1.0).group)
    measured = measure_task(Scripted(), READY, sent, HERE)
    for report in (
        Began(sent.id, HERE, "2026-01-01T00:00:00+00:00"),
        measured,
        Lost(sent.id, "gone", HERE, counts=False),
        Lost(sent.id, "gone"),
        Warned("look out"),
    ):
        assert report_from_json(report.to_json()) == report


def test_a_damaged_report_is_one_sentence() -> None:
    with pytest.raises(PyprofError, match="a worker's report is damaged"):
        report_from_json({"began": "x"})

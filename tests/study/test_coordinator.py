"""The coordinator against an executor that says what the test wants: found groups, late answers, losses, clocks."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from simulated_machine import make_environment
from simulated_worker import SleepingWorker, figures, seated
from sleeping_run import sleeping_study

from pyprof.errors import IncompleteError, UsageError
from pyprof.records.executor import Began, Lost, Measured, Ready, Report, Task, Warned
from pyprof.records.lock import GRACE_SECONDS
from pyprof.records.place import Place
from pyprof.records.run_directory import RECORDS, read
from pyprof.records.study import Study
from pyprof.study.flights import MOST_LOSSES
from pyprof.study.ledger import torn
from pyprof.study.run import run_study
from pyprof.worker.turns import VARIABLE

NODE = Place("node1", "cuda:0")
LENGTHS = {"start": 64, "stop": 2048, "step": 64, "auto": True, "tolerance": 128}


class Scripted:
    """An executor of `workers` that answers at once: `answer` makes the reports of a task, by default its figures."""

    name = "scripted"
    keeps = ("spool",)

    def __init__(
        self,
        answer: Callable[[Task], Sequence[Report]] | None = None,
        workers: int = 2,
        left: Sequence[Task] = (),
    ) -> None:
        self.answer = answer or (lambda task: [began(task), measured(task)])
        self.left = left
        self.tasks: list[Task] = []
        self.reports: list[Report] = []
        self._workers = workers
        self._under_way: set[str] = set()

    def start(self, study: Study) -> Ready:
        return Ready(replace(study, device="cpu", threads=2, memory_budget=2**30), make_environment())

    def found(self) -> Sequence[Task]:
        for task in self.left:
            self._under_way.add(task.id)
            self.reports += self.answer(task)
        return self.left

    def free(self) -> Sequence[str]:
        return ("",) * (self._workers - len(self._under_way))

    def submit(self, task: Task) -> None:
        self.tasks.append(task)
        self._under_way.add(task.id)
        self.reports += self.answer(task)

    def wait(self, seconds: float | None) -> Sequence[Report]:
        assert self.reports, "there is nothing to wait for"
        report = self.reports.pop(0)
        if isinstance(report, Measured | Lost):
            self._under_way.discard(report.task)
        return [report]

    def workers(self) -> Sequence[Place]:
        return [Place("node1", f"cuda:{number}") for number in range(self._workers)]

    def close(self) -> None:
        self.reports = []


def began(task: Task, ahead: float = 0.0) -> Began:
    return Began(task.id, NODE, (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat())


def measured(task: Task) -> Measured:
    place = replace(NODE, attempt=task.attempt, group=task.group, together=len(task.cases))
    outcomes = figures(task.cases, make_environment(), 1.0)
    stamped = tuple(replace(each, record=replace(each.record, place=place)) for each in outcomes)
    return Measured(task.id, stamped, make_environment())


@pytest.mark.parametrize(("in_turn", "times"), [(False, 1), (True, 2)])
def test_a_group_may_take_as_much_longer_as_another_run_has_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_turn: bool, times: int
) -> None:
    if in_turn:
        monkeypatch.setenv(VARIABLE, str(tmp_path))
    executor = Scripted()
    study = sleeping_study(1, timeout=1000)
    run_study(study, tmp_path / "run", executor=executor)
    (task,) = executor.tasks
    assert task.allowed == times * study.care.timeout * 2 + 600


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / RECORDS).read_text().splitlines()]


def test_what_an_earlier_coordinator_gave_out_is_taken_back_and_not_given_out_again(tmp_path: Path) -> None:
    run_study(sleeping_study(4), tmp_path, executor=(first := Scripted()))
    kept = (tmp_path / RECORDS).read_text().splitlines(keepends=True)
    # Two groups are on disk; the third was read and not kept, the second answers once more.
    (tmp_path / RECORDS).write_text("".join(kept[:4]))
    again = Scripted(left=[first.tasks[1], first.tasks[2]])
    result = run_study(None, tmp_path, resume=True, executor=again)
    assert result.counts == {"ok": 8}
    assert [task.cases[0].length for task in again.tasks] == [64]
    assert len(lines(tmp_path)) == 8


def test_an_answer_that_comes_twice_or_too_late_counts_once(tmp_path: Path) -> None:
    def answer(task: Task) -> list[Report]:
        if task.attempt == 1:
            # It seems to hang, is given out again, and answers after all.
            return [began(task), Lost(task.id, "it is silent", NODE), measured(task)]
        return [began(task), measured(task), measured(task)]

    result = run_study(sleeping_study(3), tmp_path, executor=Scripted(answer))
    assert result.counts == {"ok": 6}
    assert len(lines(tmp_path)) == 6
    assert {line["place"]["attempt"] for line in lines(tmp_path)} == {2}


def test_the_next_attempt_avoids_where_it_was_lost_and_knows_that_it_is_the_last(tmp_path: Path) -> None:
    executor = Scripted(lambda task: [began(task), Lost(task.id, "gone", Place("node1", f"cuda:{task.attempt}"))])
    result = run_study(sleeping_study(1), tmp_path, executor=executor)
    assert [(task.attempt, task.last, task.avoid) for task in executor.tasks] == [
        (1, False, ()),
        (2, False, (("node1", "cuda:1"),)),
        (3, True, (("node1", "cuda:1"), ("node1", "cuda:2"))),
    ]
    assert len({task.id for task in executor.tasks}) == 3
    assert result.counts == {"error": 2}
    (reason,) = {record.reason for record in result.records.values()}
    assert reason == (
        "its worker was lost 3 times (on cuda:1 of node1, cuda:2 of node1, cuda:3 of node1), the last time because gone"
    )


def test_a_preempted_job_is_no_attempt_but_not_for_ever(tmp_path: Path) -> None:
    def answer(task: Task) -> list[Report]:
        return [began(task), Lost(task.id, "preempted", NODE, counts=False) if task.attempt < 9 else measured(task)]

    executor = Scripted(answer)
    assert run_study(sleeping_study(1), tmp_path / "a", executor=executor).counts == {"ok": 2}
    assert not any(task.last for task in executor.tasks)
    executor = Scripted(lambda task: [Lost(task.id, "preempted", NODE, counts=False)])
    assert run_study(sleeping_study(1), tmp_path / "b", executor=executor).counts == {"error": 2}
    assert len(executor.tasks) == MOST_LOSSES


@pytest.mark.parametrize(("ahead", "way"), [(40.0, "ahead of"), (-40.0, "behind")])
def test_a_clock_that_differs_is_one_sentence_once(tmp_path: Path, ahead: float, way: str) -> None:
    told: list[str] = []
    executor = Scripted(lambda task: [began(task, ahead), measured(task)])
    result = run_study(sleeping_study(3), tmp_path, executor=executor, say=told.append)
    (sentence,) = told
    assert sentence.startswith("the clock of node1 is 40.0 s ")
    assert way in sentence
    assert result.warnings == (sentence,)


def test_a_clock_that_is_right_is_not_spoken_of_and_a_strange_one_does_no_harm(tmp_path: Path) -> None:
    told: list[str] = []
    clocks = iter(["yesterday", "2026-01-01T00:00:00", ""])
    executor = Scripted(lambda task: [Began(task.id, NODE, next(clocks)), measured(task)])
    run_study(sleeping_study(3), tmp_path / "a", executor=executor, say=told.append)
    run_study(sleeping_study(3), tmp_path / "b", executor=Scripted(), say=told.append)
    assert told == []


def test_what_an_executor_warns_of_is_said_once(tmp_path: Path) -> None:
    told: list[str] = []
    executor = Scripted(lambda task: [Warned("the queue is long"), began(task), measured(task)])
    run_study(sleeping_study(3), tmp_path, executor=executor, say=told.append)
    assert told == ["the queue is long"]


def test_a_group_of_which_a_crash_left_a_part_is_measured_again_as_a_whole(tmp_path: Path) -> None:
    run_study(sleeping_study(3), tmp_path, executor=Scripted())
    content = (tmp_path / RECORDS).read_text().splitlines(keepends=True)
    (tmp_path / RECORDS).write_text("".join(content[:5]) + content[5][:40])
    again = Scripted()
    assert run_study(None, tmp_path, resume=True, executor=again).counts == {"ok": 6}
    assert [len(task.cases) for task in again.tasks] == [2]
    assert torn(list(read(tmp_path).records.values())) == []


def test_a_whole_group_at_the_end_is_kept(tmp_path: Path) -> None:
    result = run_study(sleeping_study(3), tmp_path, executor=Scripted())
    records = list(result.records.values())
    assert torn(records) == []
    assert len(torn(records[:-1])) == 1
    assert torn([]) == []
    # One case of an older group that was measured again by itself does not make the rest of it torn.
    alone = replace(records[0], place=replace(NODE, group="other"))
    assert torn([*records[1:], alone]) == []


def test_a_full_disk_is_one_sentence_and_keeps_whole_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    written = []

    def pwrite(file: int, content: bytes, offset: int) -> int:
        if b'"status"' in content:
            written.append(content)
            if len(written) > 2:
                write(file, content[:10], offset)
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, content, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(IncompleteError, match="cannot be written \\(No space left on device\\)"):
        run_study(sleeping_study(4), tmp_path, executor=seated(SleepingWorker(), SleepingWorker()))
    monkeypatch.undo()
    assert len(read(tmp_path).records) == 4
    assert read(tmp_path).warnings == ()
    assert run_study(None, tmp_path, resume=True, executor=Scripted()).counts == {"ok": 8}


def test_two_coordinators_do_not_share_a_directory(tmp_path: Path) -> None:
    said = []

    def second(task: Task) -> list[Report]:
        with pytest.raises(UsageError) as caught:
            run_study(None, tmp_path, resume=True, executor=Scripted())
        said.append(str(caught.value))
        return [began(task), measured(task)]

    run_study(sleeping_study(1), tmp_path, executor=Scripted(second))
    (sentence,) = said
    assert f"another process (process {os.getpid()} on " in sentence


def test_a_stale_lock_of_another_machine_is_told(tmp_path: Path) -> None:
    run_study(sleeping_study(1), tmp_path, executor=Scripted())
    lock = tmp_path / ".lock"
    lock.write_text(json.dumps({"machine": "node9", "process": 5, "since": "2026", "seconds": 1.0}))
    os.utime(lock, (0, 0))
    told: list[str] = []
    run_study(None, tmp_path, resume=True, executor=Scripted(), say=told.append)
    assert len(told) == 1
    assert "was stale and is taken over: its owner (process 5 on node9" in told[0]
    assert GRACE_SECONDS > 0


def test_files_that_an_executor_keeps_are_no_strangers(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    assert run_study(sleeping_study(1), tmp_path, executor=Scripted()).counts == {"ok": 2}
    (tmp_path / "other" / "spool").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds 'spool' and no run"):
        run_study(sleeping_study(1), tmp_path / "other", executor=SleepingWorker())


def test_as_many_groups_are_under_way_as_there_are_workers(tmp_path: Path) -> None:
    most = []

    class Counting(Scripted):
        def wait(self, seconds: float | None) -> Sequence[Report]:
            most.append(len(self._under_way))
            return super().wait(seconds)

    run_study(sleeping_study(9), tmp_path, executor=Counting(workers=3))
    assert max(most) == 3


def test_crossings_are_searched_across_workers(tmp_path: Path) -> None:
    """With several workers an automatic search ends at the same crossing, with few more lengths."""
    comparison = {"vanilla": "bert", "variants": ["longformer"], "lengths": LENGTHS, "implementations": ["then"]}
    found = []
    for number, workers in enumerate((1, 4)):
        study = replace_comparison(comparison)
        run_study(study, tmp_path / str(number), executor=Scripted(workers=workers))
        records = read(tmp_path / str(number)).records.values()
        found.append(sorted({record.case.length for record in records}))
    one, many = found
    assert len(many) <= len(one) + 3
    # The figures cross at 1,000 tokens.
    for lengths in found:
        below, above = (max(each for each in lengths if each <= 1000), min(each for each in lengths if each >= 1000))
        assert above - below <= 256


def replace_comparison(comparison: dict[str, Any]) -> Study:
    from simulated_machine import make_study

    return make_study(comparison=[comparison])

"""The directory that a run and its jobs share: who takes what, and what a killed one leaves."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_machine import make_environment

from pyprof.errors import PyprofError
from pyprof.executors.spool import Spool
from pyprof.records.case import Case
from pyprof.records.executor import Began, Measured, Task
from pyprof.records.place import Place

PLACE = Place("here", "cores 0")


def a_task(length: int, **changes: object) -> Task:
    return replace(Task.of([Case("bert", length, attention="eager")], 1.0, 10.0), **changes)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "shared")
    made.write_settings({"name": "run"})
    return made


def take_first(spool: Spool, worker: str) -> Task | None:
    for name, task in spool.offers():
        if spool.take(worker, name):
            return task
    return None


def test_groups_are_taken_once_in_the_order_in_which_they_were_left(spool: Spool) -> None:
    tasks = [a_task(length) for length in (512, 128, 256)]
    for task in tasks:
        spool.put(task)
    assert spool.waiting() == tasks
    for worker in ("1_0", "1_1"):
        spool.register(worker, {})
    assert [take_first(spool, worker) for worker in ("1_0", "1_1", "1_0", "1_1")] == [*tasks, None]
    assert spool.taken() == {"1_0": [tasks[0], tasks[2]], "1_1": [tasks[1]]}
    assert spool.waiting() == []


def test_of_two_that_want_the_same_group_one_gets_it(spool: Spool) -> None:
    spool.put(a_task(128))
    spool.register("1_0", {})
    spool.register("1_1", {})
    ((name, _),) = spool.offers()
    assert spool.take("1_0", name)
    assert not spool.take("1_1", name)
    # The answer to a rename was lost on the network, and the second one finds nothing to rename.
    assert spool.take("1_0", name)


def test_where_a_listing_lags_behind_each_group_is_taken_once_and_comes_back(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network file system's cache does: a folder shows for a while what it held before."""
    seen: dict[str, list[list[str]]] = {}
    listed = os.listdir

    def lagging(folder: Path) -> list[str]:
        history = seen.setdefault(str(folder), [])
        history.append(listed(folder))
        return history[max(0, len(history) - 4)]

    workers = ("1_0", "1_1", "1_2")
    for worker in workers:
        spool.register(worker, {})
    monkeypatch.setattr(os, "listdir", lagging)
    assert not list(spool.offers())
    tasks = [a_task(64 * number) for number in range(1, 7)]
    for task in tasks:
        spool.put(task)
    taken: list[str] = []
    told: list[str] = []
    for turn in range(60):
        worker = workers[turn % len(workers)]
        task = take_first(spool, worker)
        if task is not None:
            taken.append(task.id)
            name = next(name for name in listed(spool.directory / "taken" / worker) if task.id in name)
            spool.tell("done", name, task, Measured(task.id, (), make_environment()))
            spool.give_back(worker, name)
        for each in spool.told("done"):
            told.append(each.task.id)
            spool.forget(each)
    assert sorted(taken) == sorted(told) == sorted(task.id for task in tasks)
    assert spool.waiting() == []
    assert not any(spool.taken().values())


def test_what_a_worker_held_is_taken_back_but_not_what_it_handed_in(spool: Spool) -> None:
    kept, lost = a_task(128), a_task(256)
    for task in (kept, lost):
        spool.put(task)
    spool.register("1_0", {})
    for name, _ in spool.offers():
        assert spool.take("1_0", name)
    # It is killed after it has handed in the first and before it gives that one back.
    (name,) = [name for name in spool._files("taken/1_0") if kept.id in name]
    spool.tell("done", name, kept, Measured(kept.id, (), make_environment()))
    assert spool.take_back("1_0") == [lost.id]
    assert spool.take_back("1_0") == []
    ((told),) = spool.told("done")
    assert (told.task, told.report.task) == (kept, kept.id)
    spool.forget(told)
    assert list(spool.told("done")) == []


def test_reports_come_back_as_they_were_told(spool: Spool) -> None:
    task = a_task(128)
    report = Began(task.id, PLACE, "2026-01-01T00:00:00+00:00")
    spool.tell("began", "000001.json", task, report)
    assert [told.report for told in spool.told("began")] == [report]


def test_a_group_is_withdrawn_unless_somebody_has_it(spool: Spool) -> None:
    first, second = a_task(128), a_task(256)
    spool.put(first)
    spool.put(second)
    spool.register("1_0", {})
    assert take_first(spool, "1_0") == first
    assert not spool.withdraw(first.id)
    assert spool.withdraw(second.id)
    assert spool.waiting() == []


def test_whoever_goes_on_gives_later_groups_later_names(spool: Spool) -> None:
    for length in (128, 256):
        spool.put(a_task(length))
    again = Spool(spool.directory)
    again.write_settings({"name": "run"})
    again.put(a_task(512))
    assert [task.cases[0].length for task in again.waiting()] == [128, 256, 512]


def test_workers_end_when_they_are_told_to_or_the_directory_is_gone(spool: Spool) -> None:
    assert not spool.stopped
    spool.stop()
    assert spool.stopped
    # Whoever goes on takes that back.
    spool.write_settings({"name": "run"})
    assert not spool.stopped
    spool.remove()
    assert spool.stopped
    assert spool.settings is None


def test_a_full_or_forbidden_directory_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PyprofError, match="cannot be used"):
        Spool(tmp_path / "file" / "shared").write_settings({})


def test_one_worker_is_the_first(spool: Spool) -> None:
    assert [spool.is_first() for _ in range(3)] == [True, False, False]
    # Whoever goes on with the directory has a first one again.
    spool.write_settings({"name": "run"})
    assert spool.is_first()

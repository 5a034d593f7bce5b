"""The one worker of the default: a process that is given one group after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_machine import Simulated, make_study, quadratic
from sleeping_run import sleeping_process, sleeping_study

from pyprof.executors.devices import DevicesExecutor
from pyprof.executors.seats import Seat
from pyprof.records.case import Case
from pyprof.records.executor import Advance, Outcome, Ready
from pyprof.records.study import Study
from pyprof.study.run import Event, run_study


def test_a_process_measures_one_group_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEEPING_LOG", str(tmp_path / "log"))
    begin = time.monotonic()
    result = run_study(sleeping_study(3, timeout="20 s"), tmp_path / "run", executor=sleeping_process({}))
    # It is told of every outcome that is kept: one that is not would wait, and its group be timed by itself afterwards.
    assert time.monotonic() - begin < 20
    assert result.counts == {"ok": 6}
    assert not any(record.notes for record in result.records.values())
    assert len((tmp_path / "log").read_text().splitlines()) == 3


class Queued(Simulated):
    """A machine that is had after an hour."""

    def start(self, study: Study) -> Ready:
        self.now += 3600.0
        return replace(super().start(study), waited=3600.0)


def test_what_a_run_waits_for_a_cluster_is_not_charged_to_its_time_budget(tmp_path: Path) -> None:
    queued, at_once = Queued(quadratic), Simulated(quadratic)
    study = make_study(time_budget=90)
    counts = [
        run_study(study, tmp_path / name, executor=executor, clock=executor.clock).counts
        for name, executor in (("queued", queued), ("at_once", at_once))
    ]
    assert counts[0] == counts[1]
    assert counts[0]["ok"] > 4


class Telling(Simulated):
    """A machine that says of each case how far it is, twice, and is found by `devices` too."""

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome | Advance]:
        for case in cases:
            yield Advance(case, "step 1 of 2", 8.0)
            yield Advance(case, "step 2 of 2", 4.0)
            yield self.measure(case)

    def stop(self) -> None:
        pass


@pytest.mark.parametrize("several", [False, True])
def test_how_far_a_case_is_reaches_the_progress(tmp_path: Path, several: bool) -> None:
    events: list[Event] = []
    machine = Telling(quadratic)
    executor = DevicesExecutor([Seat("0")], lambda variables: machine) if several else machine
    study = make_study(comparison=[{"vanilla": "bert", "lengths": [128], "implementations": ["then"]}])
    result = run_study(study, tmp_path, executor=executor, progress=events.append, clock=machine.clock)
    assert result.counts == {"ok": 1}
    assert [event.kind for event in events] == ["started", "advanced", "advanced", "finished"]
    assert [(event.what, event.left) for event in events[1:3]] == [("step 1 of 2", 8.0), ("step 2 of 2", 4.0)]

"""The one worker of the default: a process that is given one group after the other."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_machine import Simulated, make_study, quadratic
from sleeping_run import sleeping_process, sleeping_study

from pyprof.records.executor import Ready
from pyprof.records.study import Study
from pyprof.study.run import run_study


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

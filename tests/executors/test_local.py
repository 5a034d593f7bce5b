"""The one worker of the default: a process that is given one group after the other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sleeping_run import sleeping_process, sleeping_study

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

"""Where trainings of cases are kept until they are done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from simulated_machine import Simulated, make_environment, make_study, quadratic

from pyprof.records import trainings
from pyprof.records.case import Case
from pyprof.records.store import Store
from pyprof.study.resolve import resolve

DONE, FAILED = Case("bert", 128), Case("bert", 256)


def test_a_process_is_told_where_to_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYPROF_TRAININGS", raising=False)
    assert trainings.place_of("0" * 16, "image_accuracy") is None
    monkeypatch.chdir(tmp_path)
    for name, value in trainings.variables(Path("run")).items():
        monkeypatch.setenv(name, value)
    assert trainings.place_of("0" * 16, "image_accuracy") == tmp_path / "run/trainings" / ("0" * 16) / "image_accuracy"


def test_those_of_a_case_go_with_its_record_and_those_of_one_that_is_tried_again_stay(tmp_path: Path) -> None:
    for case in (DONE, FAILED):
        (tmp_path / trainings.FOLDER / case.key / "image_accuracy" / "seed-0").mkdir(parents=True)
    records = [Simulated(quadratic).measure(case).record for case in (DONE, FAILED)]
    failed = replace(records[1], status="error", reason="it was killed", indicators={})
    # What a killed run has left is its own, even where nothing was measured yet.
    with Store(tmp_path) as store:
        store.begin(make_study(), resolve(make_study()), make_environment())
        store.append(records[0])
        store.append(failed)
        assert [each.name for each in (tmp_path / trainings.FOLDER).iterdir()] == [FAILED.key]
        store.append(records[1])
    assert not (tmp_path / trainings.FOLDER).exists()

"""What a GPU worked for each kind and layer is in a case's record and in its layers, where it is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyprof.analysis.shares import share_row
from pyprof.layers.device_time import DeviceTime, LayerWork, Work
from pyprof.layers.profile import LayerCost, Profile
from pyprof.records.case import Case
from pyprof.records.executor import Outcome
from pyprof.records.record import Record
from pyprof.worker.case_in_progress import CaseInProgress


def layer(index: int, parent: int | None, path: str, kind: str, own: float, total: float) -> LayerCost:
    return LayerCost(index, parent, path, "Module", kind, 1, 10, total, own, None, None, None, "replaced")


def work(forward: float, backward: float | None, recompute: float | None = None) -> LayerWork:
    def of(seconds: float | None) -> Work | None:
        return None if seconds is None else Work(kernel_seconds=seconds / 2, copy_seconds=seconds / 2, kernels=1)

    own = of(forward) or Work()
    return LayerWork(own, own, of(backward), of(backward), of(recompute), None)


PROFILE = Profile(
    (layer(0, None, "", "other", 0.1, 0.6), layer(1, 0, "a", "head", 0.2, 0.2), layer(2, 0, "b", "head", 0.3, 0.3)),
    1, 0.7, 0.1, 3, 0, 0,
)  # fmt: skip
DEVICE = DeviceTime(
    (work(0.01, None), work(0.02, 0.04), work(0.03, 0.06, 0.05)), 1, Work(), Work(), Work(), (), (), 1
)  # fmt: skip


def outcome(profile: Profile) -> Outcome:
    case = CaseInProgress(Case("m", 8, device="cuda"), started="2026-01-01T00:00:00Z", profile=profile)
    return case.outcome("0123")


def test_kernels_copies_and_all_directions_are_counted() -> None:
    made = outcome(replace(PROFILE, device_time=DEVICE))
    seconds = {kind: cost.device_seconds for kind, cost in made.record.kinds.items()}
    assert seconds == pytest.approx({"other": 0.01, "head": 0.02 + 0.04 + 0.03 + 0.06 + 0.05})
    assert made.layers is not None
    assert made.layers["own_device_seconds"] == pytest.approx([0.01, 0.06, 0.14])
    row = share_row(Record.from_json(made.record.to_json()))
    assert row is not None
    assert row.device == pytest.approx(seconds)
    assert row.backward is None


def test_where_nothing_tells_there_is_none() -> None:
    made = outcome(PROFILE)
    assert {cost.device_seconds for cost in made.record.kinds.values()} == {None}
    assert made.layers is not None
    assert "own_device_seconds" not in made.layers
    row = share_row(made.record)
    assert row is not None
    assert row.device is None
    assert row.forward == {"other": 0.1, "head": 0.5}

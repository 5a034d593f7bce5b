"""How --workers becomes seats."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyprof.errors import UsageError
from pyprof.executors import seats as seats_module
from pyprof.executors.seats import VISIBLE, divided, seats_of


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Eight processors in four physical cores, and no GPU hidden."""
    monkeypatch.setattr(seats_module, "usable_cores", lambda: list(range(8)))
    monkeypatch.delenv(VISIBLE, raising=False)
    for core in range(8):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{core % 4},{core % 4 + 4}\n")


def names(workers: str | None, device: str, root: Path, cards: int = 0) -> list[str]:
    return [seat.name for seat in seats_of(workers, device, cards, root)]


def test_cores_are_divided_by_whole_physical_ones(tmp_path: Path) -> None:
    assert names("2", "cpu", tmp_path) == ["cores 0-1,4-5", "cores 2-3,6-7"]
    assert names("4", "cpu", tmp_path) == ["cores 0,4", "cores 1,5", "cores 2,6", "cores 3,7"]
    # One is left, as sets are equal.
    assert divided(3, tmp_path) == [frozenset({0, 4}), frozenset({1, 5}), frozenset({2, 6})]
    assert names("0-1/4,6-7", "cpu", tmp_path) == ["cores 0-1", "cores 4,6-7"]


def test_every_gpu_has_a_worker_that_sees_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(None, "cuda", tmp_path, cards=2) == ["cuda:0", "cuda:1"]
    assert names(None, "auto", tmp_path, cards=2) == ["cuda:0", "cuda:1"]
    assert names("1", "cuda", tmp_path, cards=2) == ["cuda:0"]
    assert [dict(seat.variables) for seat in seats_of("cuda:2,cuda:0", "cuda", 4, tmp_path)] == [
        {VISIBLE: "0"},
        {VISIBLE: "2"},
    ]
    monkeypatch.setenv(VISIBLE, "GPU-aa, GPU-bb")
    assert [dict(seat.variables) for seat in seats_of("cuda:1", "cuda", 2, tmp_path)] == [{VISIBLE: "GPU-bb"}]


@pytest.mark.parametrize(
    ("workers", "device", "cards", "says"),
    [
        ("5", "cpu", 0, "asks for more sets than the 4 physical cores"),
        ("0", "cpu", 0, "must be at least 1"),
        (None, "cpu", 0, "needs --workers where there is no GPU"),
        (None, "cuda", 0, "found no GPU"),
        ("3", "cuda", 2, "more GPUs than the 2"),
        ("0-3/3-4", "cpu", 0, "gives a processor to two workers"),
        ("0/9", "cpu", 0, "asks for 9, but this process may use 0-7"),
        ("many", "cpu", 0, "takes a number, GPUs such as"),
        ("cuda:0", "cpu", 0, "names GPUs and the study is to run on the cpu"),
        ("0/1", "cuda", 2, "names processors and the study is to run on cuda"),
        ("2", "cuda:1", 2, "give --device cuda and --workers cuda:1"),
    ],
)
def test_what_cannot_be_is_said(workers: str | None, device: str, cards: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        seats_of(workers, device, cards, tmp_path)


def test_a_card_that_is_hidden_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "3")
    with pytest.raises(UsageError, match="there is no cuda:1: CUDA_VISIBLE_DEVICES lets this process see 1"):
        seats_of("cuda:1", "cuda", 1, tmp_path)

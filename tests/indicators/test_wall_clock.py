"""A set of examples from the user's DataLoader, and what of its time was waited."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from model_steps import registry_step

from pyprof.device import host
from pyprof.indicators import pipeline_bubble, wall_clock
from pyprof.records.reading import Reading

LOADERS = """
import time

import torch


def by_name(length):
    return [{"input_ids": torch.randint(0, 100, (size, length))} for size in (4, 4, 2)]


def slow(length):
    class Loader:
        def __iter__(self):
            for batch in by_name(length):
                time.sleep(0.02)
                yield batch

    return Loader()


def by_position(length):
    return [torch.randint(0, 100, (3, length)), [torch.randint(0, 100, (2, length))]]


def empty(length):
    return []
"""


@pytest.fixture
def loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_loaders.py").write_text(LOADERS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    monkeypatch.delitem(__import__("sys").modules, "own_loaders", raising=False)


def read(name: str | None, mode: str = "infer", **settings: Any) -> Any:
    step = registry_step("bert", 16, mode, **settings)
    step.loader = None if name is None else f"own_loaders:{name}"
    return wall_clock.read(step)


@pytest.mark.usefixtures("loaders")
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_all_examples_are_gone_through(mode: str) -> None:
    before = time.perf_counter()
    reading = read("by_name", mode, optimizer="sam" if mode == "train" else "none")
    assert (reading.detail["examples"], reading.detail["batches"], reading.detail["passes"]) == (10, 3, 3)
    assert reading.low <= reading.value <= reading.high
    assert 3 * reading.low < time.perf_counter() - before
    assert reading.detail["waiting"] < reading.value


@pytest.mark.usefixtures("loaders")
def test_waiting_for_batches_is_in_it_and_told() -> None:
    reading = read("slow")
    assert reading.detail["waiting"] >= 3 * 0.02
    assert reading.value > reading.detail["waiting"]


@pytest.mark.usefixtures("loaders")
def test_batches_by_position_and_alone() -> None:
    detail = read("by_position").detail
    assert (detail["examples"], detail["batches"]) == (5, 2)


@pytest.mark.usefixtures("loaders")
def test_without_examples_there_is_a_reason() -> None:
    assert "give --loader package.module:function" in read(None).reason
    assert read("empty").reason == "own_loaders:empty gave no batch"


def test_the_bubble_of_the_host_is_what_its_cores_did_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        """A wall of 100 ns a step, in which two threads compute for 120 ns together."""

        def __init__(self) -> None:
            self.steps = 0

        def perf_counter_ns(self) -> int:
            return 100 * self.steps

        def process_time_ns(self) -> int:
            return 120 * self.steps

    clock = Clock()
    step = registry_step("bert", 16)
    step._run = lambda inputs: setattr(clock, "steps", clock.steps + 1)
    monkeypatch.setattr(host, "time", clock)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert pipeline_bubble.read(step) == Reading(40e-9, 40e-9, 40e-9, (40,) * 5, detail={"share": 0.4})

"""A device of one's own: one file, registered, and a study runs on it from its plan to its records."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_device
import pytest
import torch
from fake_device import (
    FREE_BYTES,
    LAUNCH_NS,
    RATE,
    REPLAYED,
    TOKEN_BYTES,
    TOKEN_NS,
    FakeDevice,
    GraphDevice,
    resident_bytes,
)
from simulated_machine import make_study

from pyprof import device as devices
from pyprof.device.base import SHARE
from pyprof.errors import UsageError
from pyprof.records.case import Case
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.study.prediction import Prediction
from pyprof.study.preview import preview
from pyprof.study.run import Event, run_study
from pyprof.timing.yardstick import Yardstick
from pyprof.worker.executors import InProcessExecutor
from pyprof.worker.limits import settle

LENGTHS = (2, 6)
MODEL = "fake_device:model"


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_device.Chip]:
    """The hardware, with its device known as fake."""
    fresh = fake_device.Chip()
    monkeypatch.setattr(fake_device, "CHIP", fresh)
    devices.register("fake", FakeDevice)
    yield fresh
    devices.unregister("fake")
    with pytest.raises(UsageError, match="there is no device 'fake'"):
        devices.of("fake")


def a_study(**changes: Any) -> Study:
    block = {"vanilla": MODEL, "lengths": list(LENGTHS), "implementations": ["now"]}
    measure = {"min_samples": 6, "max_samples": 6, "max_seconds": 1.0}
    return make_study(**{"comparison": [block], "measure": measure, "device": "fake:1", "batch_limit": 64, **changes})


def run(study: Study, directory: Path) -> tuple[list[Record], list[Event]]:
    events: list[Event] = []
    result = run_study(study, directory, executor=InProcessExecutor(), progress=events.append)
    assert (result.study.device, result.study.memory_budget) == ("fake:1", int(SHARE * FREE_BYTES))
    return list(result.records.values()), events


def test_records_hold_the_devices_time_and_memory(chip: fake_device.Chip, tmp_path: Path) -> None:
    records, _ = run(a_study(metrics=["latency", "peak_memory"]), tmp_path / "run")
    assert sorted(record.case.length for record in records) == list(LENGTHS)
    for record in records:
        assert record.reason is None
        assert (record.status, record.reason, record.case.device) == ("ok", None, "fake:1")
        latency, peak = record.indicators["latency"], record.indicators["peak_memory"]
        assert len(latency.samples) >= 6  # a device has as many rounds as its noise needs
        assert set(latency.samples) == {LAUNCH_NS + record.case.length * TOKEN_NS}
        resident = resident_bytes(record.case.length, 1)
        assert peak.samples == (record.case.length * TOKEN_BYTES + resident,)
        assert peak.detail["resident"] == resident
        assert latency.rounds.noise.throttled in (None, False)
    assert chip.live == 0


def test_a_noisy_device_has_more_rounds_than_the_study_asks_of_a_host(
    chip: fake_device.Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a launch-bound step has, whose time is the host's: as many as its noise needs, within the time."""
    chance, work = random.Random(0), fake_device.Chip.work

    def noisy(self: fake_device.Chip, tokens: int) -> None:
        work(self, tokens)
        self.now += chance.randrange(TOKEN_NS)

    monkeypatch.setattr(fake_device.Chip, "work", noisy)
    monkeypatch.setattr(FakeDevice, "filling_size", 64)
    measure = {"min_samples": 6, "max_samples": 6, "max_seconds": 0.4, "precision": 0.02}
    records, _ = run(a_study(metrics=["latency"], measure=measure), tmp_path / "run")
    for record in records:
        latency = record.indicators["latency"]
        assert 12 < len(latency.samples) <= 300
        assert sum(latency.samples) * 1e-9 < 2 * 0.4


@pytest.mark.parametrize(("fills", "size"), [(512, 512), (2048, 2048), (8192, 4096)])
def test_the_yardstick_is_work_that_fills_the_device(
    chip: fake_device.Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fills: int, size: int
) -> None:
    made: list[tuple[str, int]] = []

    class Work(Yardstick):
        def __init__(self, device: str, size: int) -> None:
            made.append((device, size))
            super().__init__(device, size=8)

    monkeypatch.setattr("pyprof.worker.bench.Yardstick", Work)
    monkeypatch.setattr(FakeDevice, "filling_size", fills)
    run(a_study(metrics=["latency"]), tmp_path / "run")
    assert set(made) == {("cpu", size)}  # where the chip's tensors lie


def test_a_hot_device_marks_what_it_was_measured_with(chip: fake_device.Chip, tmp_path: Path) -> None:
    chip.hot = True
    records, _ = run(a_study(metrics=["latency"]), tmp_path / "run")
    for record in records:
        assert record.indicators["latency"].rounds.noise.throttled is True


def test_the_search_for_the_largest_batch_uses_the_devices_memory(chip: fake_device.Chip, tmp_path: Path) -> None:
    records, _ = run(a_study(metrics=["throughput"]), tmp_path / "run")
    budget = int(SHARE * FREE_BYTES)
    for record in records:
        length, reading = record.case.length, record.indicators["throughput"]
        batch = max(
            size for size in range(1, 65) if size * length * TOKEN_BYTES + resident_bytes(length, size) <= budget
        )
        assert (reading.detail["batch"], record.case.batch) == (batch, "largest")
        assert reading.detail["peak"] == batch * length * TOKEN_BYTES + resident_bytes(length, batch)
        assert reading.value == pytest.approx(batch / ((LAUNCH_NS + batch * length * TOKEN_NS) * 1e-9), rel=1e-9)
    assert chip.released


@pytest.fixture
def graph_chip(chip: fake_device.Chip, monkeypatch: pytest.MonkeyPatch) -> fake_device.Chip:
    """The same hardware, where work can be captured; a module is known to be on it, though PyTorch is not told."""
    devices.unregister("fake")
    devices.register("fake", GraphDevice)
    monkeypatch.setattr("pyprof.layers.instrument.devices.of_module", lambda module: devices.of("fake:1"))
    return chip


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_captured_case_is_timed_by_its_replays_and_weighed_by_its_capture(
    graph_chip: fake_device.Chip, tmp_path: Path, mode: str
) -> None:
    metrics = ["latency", "peak_memory", "device_time", "flops"]
    records, _ = run(a_study(metrics=metrics, launches=["eager", "graph"], modes=[mode]), tmp_path / "run")
    found = {(record.case.length, record.case.launch): record for record in records}
    assert set(found) == {(length, launch) for length in LENGTHS for launch in ("eager", "graph")}
    for (length, launch), record in found.items():
        assert (record.status, record.reason) == ("ok", None)
        worked = length * TOKEN_NS * (REPLAYED if launch == "graph" else 1)
        assert set(record.indicators["latency"].samples) == {LAUNCH_NS + worked}
        assert set(record.indicators["device_time"].samples) == {worked}
        assert record.indicators["flops"].value == found[length, "eager"].indicators["flops"].value > 0
        peak = record.indicators["peak_memory"]
        assert peak.samples[0] - peak.detail["resident"] == length * TOKEN_BYTES
    assert any("a replay calls no layer" in note for note in found[LENGTHS[0], "graph"].notes)
    assert not any("captured" in note for note in found[LENGTHS[0], "eager"].notes)
    # What a replay's layers take is not known without records of the device's work: nothing is said of them.
    assert not found[LENGTHS[0], "graph"].kinds
    assert found[LENGTHS[0], "eager"].kinds


def test_the_largest_batch_of_a_captured_step_is_timed_by_its_replays(
    graph_chip: fake_device.Chip, tmp_path: Path
) -> None:
    records, _ = run(a_study(metrics=["throughput"], launches=["graph"]), tmp_path / "run")
    for record in records:
        length, reading = record.case.length, record.indicators["throughput"]
        batch = int(reading.detail["batch"])
        seconds = (LAUNCH_NS + REPLAYED * batch * length * TOKEN_NS) * 1e-9
        assert reading.value == pytest.approx(batch / seconds, rel=1e-9)
        assert reading.detail["best"] == pytest.approx(batch / seconds, rel=1e-9)


def test_a_step_that_cannot_be_captured_fails_with_its_reason_and_the_others_go_on(
    graph_chip: fake_device.Chip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: GraphDevice, fn: object) -> None:
        raise UsageError("the step cannot be captured into a CUDA graph (it waits): leave --launch out")

    monkeypatch.setattr(GraphDevice, "capture", refused)
    records, _ = run(a_study(metrics=["latency"], launches=["eager", "graph"]), tmp_path / "run")
    for record in records:
        failed = record.case.launch == "graph"
        assert record.status == ("error" if failed else "ok")
        assert ("it waits" in (record.reason or "")) == failed


def test_a_plan_uses_the_devices_guess(chip: fake_device.Chip, tmp_path: Path) -> None:
    study = a_study(metrics=["latency"])
    expected = {length: 170e6 * length / RATE for length in LENGTHS}
    prediction = Prediction(study, device="fake:1")
    for length, seconds in expected.items():
        assert prediction.step_seconds(Case(MODEL, length, attention="own", device="fake:1")) == seconds
    first = preview(study).forecasts[0]
    _, events = run(study, tmp_path / "run")
    known = Prediction(study, rate=RATE)
    assert first.seconds == known.seconds(first.case)
    assert events[0].kind == "started"
    assert events[0].predicted == known.seconds(events[0].case)
    assert chip.now > 1_000


def test_a_device_that_is_not_there_is_refused_by_its_own_reason(chip: fake_device.Chip) -> None:
    chip.present = False
    assert devices.of("fake").name == "fake"
    for refused in (lambda: devices.usable("fake"), lambda: settle(a_study(device="fake"))):
        with pytest.raises(UsageError, match="the chip is not plugged in"):
            refused()


def test_what_a_device_cannot_do_it_says_by_what_it_inherits(chip: fake_device.Chip) -> None:
    device = devices.of("fake")
    assert (device.layer_times(8), device.limits_host_memory) == (None, False)
    assert device.memory_budget(0.5) == devices.MemoryBudget(FREE_BYTES // 2, "50% of the chip's free memory")


@pytest.mark.parametrize("kind", ["cpu", "cuda", "auto", "Fake", "fake:1", ""])
def test_a_kind_that_is_taken_or_no_word_is_not_registered(kind: str) -> None:
    with pytest.raises(UsageError):
        devices.register(kind, FakeDevice)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cud", "there is no device 'cud' among cpu, cuda: did you mean 'cuda'?"),
        ("xla:0", "there is no device 'xla:0' among cpu, cuda: choose one of these"),
        ("cuda:x", "there is no device 'cuda:x' among cpu, cuda: did you mean 'cuda'?"),
        ("cpu:1", "there is no device 'cpu:1': the host is one device, so write cpu"),
        ("auto", "there is no device 'auto' among cpu, cuda: choose one of these"),
    ],
)
def test_an_unknown_device_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        devices.of(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "count", "reason"),
    [
        ("cuda", 1, None),
        ("cuda:1", 2, None),
        ("cuda", 0, "there is no device 'cuda' (this PyTorch sees no CUDA device): choose cpu"),
        ("cuda:7", 2, "there is no device 'cuda:7' (this PyTorch sees 2 CUDA devices): choose cuda or cpu"),
    ],
)
def test_a_card_is_there_or_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, count: int, reason: str | None
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    assert devices.of(name).available() == reason


@pytest.mark.parametrize(
    ("places", "name"),
    [
        ((), "cpu"),
        (("cpu", "cpu"), "cpu"),
        (("cpu", "cuda:1"), "cuda:1"),
        (("meta",), "cpu"),
    ],
)
def test_a_module_runs_where_its_tensors_lie(places: tuple[str, ...], name: str) -> None:
    tensors = [SimpleNamespace(device=torch.device(place)) for place in places]
    module: Any = SimpleNamespace(parameters=lambda: tensors[:1], buffers=lambda: tensors[1:])
    assert devices.of_module(module).name == name


@pytest.mark.parametrize("arguments", [("--dry-run",), ("--in-process",)])
def test_a_study_on_an_unknown_device_is_refused_before_anything_is_made(tmp_path: Path, arguments: tuple[str]) -> None:
    command = [sys.executable, "-m", "pyprof", "study", "quick", "--device", "gpu", "-o", "made", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "pyprof: there is no device 'gpu' among cpu, cuda: did you mean 'cpu'?\n"
    assert not (tmp_path / "made").exists()


def test_devices_are_known_and_rates_guessed_without_torch_or_native_code() -> None:
    program = (
        "import sys\n"
        "from pyprof import device\n"
        "assert device.of('cpu').guessed_rate(2) == 2 * device.of('cpu').guessed_rate(1) > 0\n"
        "assert device.of('cuda:3').guessed_rate(1) == device.of('cuda').guessed_rate(8) > 0\n"
        "heavy = ('torch', 'pyprof._native', 'pyprof._stopwatch', 'pyprof._cuda', 'pynvml')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"

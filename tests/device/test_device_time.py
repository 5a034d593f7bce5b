"""Device time: an indicator where a device has a time of its own, and blank with its reason where it has none."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import fake_device
import pytest
import synthetic_run as synthetic
from rich.console import Console
from synthetic_run import RESOLVED

from pyprof import device as devices
from pyprof.analysis.launch_bound import launch_bound
from pyprof.device.cuda import CudaDevice
from pyprof.device.cupti import union_ns
from pyprof.device.host import HostDevice
from pyprof.errors import UsageError
from pyprof.indicators import device_time, pipeline_bubble
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.study import parse
from pyprof.report import terminal
from pyprof.report.as_json import document
from pyprof.report.build import About, build_view
from pyprof.report.charts.curves import curve_groups
from pyprof.report.view import View
from pyprof.worker.limits import settle

STUDY = {
    "name": "one",
    "metrics": ["latency"],
    "comparison": [{"vanilla": "bert", "variants": ["longformer"], "lengths": [64]}],
}


class OneStep:
    """A step of 3 µs on a device."""

    def __init__(self, device: devices.Device) -> None:
        self.device = device
        self.calls = 0
        self.renewals = 0
        self.found = dict[Any, Any]()

    def renew(self) -> None:
        self.renewals += 1

    def __call__(self) -> None:
        self.calls += 1
        fake_device.CHIP.now += 3_000

    def once(self, look: Callable[[OneStep], Any], *, replayed: bool = False) -> Any:
        assert replayed
        if look not in self.found:
            self.found[look] = look(self)
        return self.found[look]


class Recorded:
    """What a device did, told in advance."""

    def __init__(self, *work: tuple[int, int]) -> None:
        self.work, self.log = work, list[str]()

    @contextmanager
    def recording(self) -> Iterator[Callable[[], Sequence[tuple[int, int]]]]:
        self.log.append("recording")
        yield lambda: self.work
        self.log.append("ended")


class Cuda:
    """As much of torch.cuda as waiting takes."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def is_current_stream_capturing(self) -> bool:
        return False

    def synchronize(self, _: str) -> None:
        self.log.append("waited")


def test_the_median_of_some_steps() -> None:
    step = OneStep(fake_device.FakeDevice("chip"))
    assert device_time.read(step) == Reading(3e-6, 3e-6, 3e-6, (3_000,) * 5)  # type: ignore[arg-type]
    assert (step.calls, step.renewals) == (6, 5)


def test_the_host_has_none_and_says_why() -> None:
    reading = device_time.read(OneStep(HostDevice()))  # type: ignore[arg-type]
    assert reading.value is None
    assert reading.reason == "cpu does its work in the call itself: latency is its time"
    with pytest.raises(UsageError, match="measure its latency"):
        HostDevice().busy_ns(lambda: None)


def test_work_on_several_streams_counts_once() -> None:
    assert union_ns([]) == 0
    assert union_ns([(10, 20), (15, 30), (40, 41), (16, 18), (40, 41)]) == 21


def test_a_card_is_idle_before_and_after() -> None:
    recorded = Recorded((5, 9), (20, 30))
    card = CudaDevice("cuda", Cuda(recorded.log), recorded)
    assert card.busy_ns(lambda: recorded.log.append("called")) == 14
    assert recorded.log == ["waited", "recording", "called", "waited", "ended"]


def test_a_card_s_bubble_is_all_before_its_first_and_after_its_last_work() -> None:
    recorded = Recorded((1_000, 2_000), (5_000, 9_000))
    card = CudaDevice("cuda", Cuda(recorded.log), recorded)
    told = card.occupation(lambda: time.sleep(0.001))
    assert told.whole > 1_000_000
    assert (told.busy, told.idle) == (5_000, told.whole - 8_000)
    empty = Recorded()
    told = CudaDevice("cuda", Cuda(empty.log), empty).occupation(lambda: None)
    assert told.busy == 0
    assert told.idle == told.whole > 0


def test_a_card_s_time_and_its_bubble_are_of_the_same_steps() -> None:
    recorded = Recorded((1_000, 2_000), (5_000, 9_000))
    step: Any = OneStep(CudaDevice("cuda", Cuda(recorded.log), recorded))
    bubble, busy = pipeline_bubble.read(step), device_time.read(step)
    assert busy.samples == (5_000,) * 5
    assert len(bubble.samples) == 5
    assert 0 <= bubble.detail["share"] <= 1
    assert step.calls == 6


def test_a_device_that_does_not_tell_its_bubble_gives_the_reason() -> None:
    reading = pipeline_bubble.read(OneStep(fake_device.FakeDevice("chip")))  # type: ignore[arg-type]
    assert reading.reason == "chip does not tell when it has nothing to do"


def test_without_records_a_card_says_so() -> None:
    with pytest.raises(UsageError, match=r"own time cannot be recorded: .*: measure the latency"):
        CudaDevice("cuda", Cuda([])).busy_ns(lambda: None)


@pytest.mark.parametrize(("asked", "there", "here"), [(["latency"], True, False), (["peak_memory"], False, False)])
def test_it_comes_beside_a_latency_where_the_device_has_it(asked: list[str], there: bool, here: bool) -> None:
    devices.register("chip", fake_device.FakeDevice)
    try:
        on_chip = settle(replace(parse({**STUDY, "metrics": asked}, "one"), device="chip")).study.metrics
    finally:
        devices.registry.unregister("chip")
    assert ("device_time" in on_chip) == there
    assert "latency" in on_chip or not there
    on_host = settle(replace(parse({**STUDY, "metrics": asked}, "one"), device="cpu")).study.metrics
    assert ("device_time" in on_host) == here
    every = settle(replace(parse(STUDY, "one"), metrics=(), device="cpu")).study.metrics
    assert "device_time" not in every
    assert "parameters" in every
    named = settle(replace(parse({**STUDY, "metrics": ["device_time"]}, "one"), device="cpu")).study.metrics
    assert named == ("device_time",)


def with_device_time(record: Record, share: float) -> Record:
    latency = record.indicators["latency"]
    assert latency.value is not None
    return replace(record, indicators={**record.indicators, "device_time": Reading(share * latency.value)})


def test_a_latency_that_the_device_fills_less_than_half_of_is_launch_bound() -> None:
    record = next(record for record in synthetic.quick() if record.status == "ok" and "latency" in record.indicators)
    assert launch_bound(record) is None
    assert launch_bound(with_device_time(record, 0.49)) is True
    assert launch_bound(with_device_time(record, 0.5)) is False


@pytest.fixture(scope="module")
def view() -> View:
    """A run on a card, of which short steps wait for their launches."""
    records = [
        with_device_time(record, 0.2 if record.case.length < 1000 else 0.9)
        for record in synthetic.quick()
        if record.status == "ok" and record.case.mode == "infer" and "latency" in record.indicators
    ]
    return build_view(records, RESOLVED, About("quick", "m"))


def test_the_marks_are_in_json(view: View) -> None:
    data = document(view)
    [latency] = [table for table in data["modalities"][0]["tables"] if table["metric"] == "latency"]
    [device] = [table for table in data["modalities"][0]["tables"] if table["metric"] == "device_time"]
    marked = {row["length"]: row["cells"][0]["launch_bound"] for row in latency["rows"]}
    assert marked == {length: length < 1000 for length in marked}
    assert {True, False} == set(marked.values())
    assert not any(cell["launch_bound"] for row in device["rows"] for cell in row["cells"])
    assert any(line["metric"] == "device_time" for line in data["modalities"][0]["tipping"])


def test_the_marks_are_in_the_table_and_explained_below_it(view: View) -> None:
    file = io.StringIO()
    terminal.write(view, Console(file=file, width=130))
    lines = file.getvalue().splitlines()
    titles = {title: place for place, line in enumerate(lines) for title in ("Latency", "Device time") if title in line}
    marked = [place for place, line in enumerate(lines) if "◇" in line and "launch-bound" not in line]
    assert marked
    assert not [place for place in marked if place > titles["Device time"]]
    assert "◇ launch-bound: the device works for less than half of it" in " ".join(file.getvalue().split())


def test_the_marks_are_in_the_pictures(view: View) -> None:
    text = view.modalities[0]
    charts = {chart.name: chart for group in curve_groups([("", text)]) for chart in group.charts}
    [latency], [device] = ([chart for name, chart in charts.items() if what in name] for what in ("latency", "device"))
    rows = latency.tables["rows"]
    points = [(length, value) for length, value in zip(rows["length"], rows["value"], strict=True) if length < 1000]
    waiting = latency.tables["waiting"]
    assert points == list(zip(waiting["length"], waiting["value"], strict=True))
    assert len(points) < len(rows["length"])
    assert "◇ launch-bound: the device works for less than half of it." in latency.caption
    bound = len({length for length, _ in points})
    assert f"launch-bound at {bound} of {len(set(rows['length']))} lengths" in latency.description
    for spec in latency.specs.values():
        [layer] = [layer for layer in spec["layer"] if layer["data"] == {"name": "waiting"}]
        assert layer["mark"]["shape"] == "diamond"
    assert not device.tables["waiting"]["length"]
    assert "launch-bound" not in device.caption + device.description
    assert all(layer["data"] != {"name": "waiting"} for spec in device.specs.values() for layer in spec["layer"])


def test_the_marks_are_in_the_picture_of_one_length(view: View) -> None:
    text = view.modalities[0]
    tables = tuple(replace(each, rows=each.rows[:1]) for each in text.tables if each.metric == "latency")
    [[chart]] = (group.charts for group in curve_groups([("", replace(text, tables=tables))]))
    assert any(layer["data"] == {"name": "waiting"} for layer in chart.spec["layer"])
    assert set(chart.tables["waiting"]["value"]) == set(chart.tables["rows"]["value"])

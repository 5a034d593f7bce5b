"""One step as a trace for a viewer: Perfetto, chrome://tracing. Loads no torch.

The format is the trace-event format's JSON: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

import pyprof
from pyprof.layers.attribution import places_of
from pyprof.layers.busy import NO_TIME
from pyprof.layers.device_work import FORWARD, KERNEL, RECOMPUTE, DeviceRecords, launch_and_place
from pyprof.layers.kernel_names import short_name
from pyprof.layers.last_steps import LastSteps
from pyprof.layers.memory_log import HOST
from pyprof.layers.sums import STEPS
from pyprof.quantity import plural
from pyprof.traces.slices import NOBODY, Slice, slices_of

if TYPE_CHECKING:
    from pyprof.layers.instrument import Probes

_HOST: Final = 1  # the process of the host's threads; devices follow
_OUTSIDE: Final = "outside of the layers"

Event = dict[str, Any]


def write_trace(probes: Probes, path: str | Path) -> None:
    """Write the last marked step that probes have seen to a file, as a trace for Perfetto and chrome://tracing.

    What other threads did meanwhile is in it, what a GPU did where its work was recorded, and the memory of a step that
    was marked with `step(memory=True)`. Without marked steps everything that was kept is in it. A name that ends in .gz
    is written gzipped. docs/traces.md says what is to be seen. Raises UsageError where nothing was recorded, and
    OSError where the file cannot be written.
    """
    text = json.dumps(document(probes.last_steps()), separators=(",", ":"), allow_nan=False)
    target = Path(path)
    data = text.encode()
    target.write_bytes(gzip.compress(data, 6) if target.suffix == ".gz" else data)


def document(recorded: LastSteps) -> dict[str, Any]:
    """The trace as a JSON object; `otherData` has `notes` on what it lacks. Raises UsageError where it has nothing."""
    slices = slices_of(recorded)
    origin = slices[0].begin
    notes = list(recorded.notes)
    if recorded.trace.dropped:
        lost = plural(recorded.trace.dropped, "interval")
        notes.append(f"{lost} of the recording found no room for their stamps, and may be missing here")
    arrows, lanes = _Arrows(), _Lanes()
    events = _host_events(recorded, slices, origin, arrows)
    end = slices[0].end if slices[0].phase == "step" else max(each.end for each in slices)
    if recorded.work is not None:
        events += _device_events(recorded, recorded.work, (origin, end), arrows, lanes)
    if recorded.memory is None:
        notes.append("there is no counter of memory, which was not followed: mark the step with `step(memory=True)`")
    else:
        if recorded.memory.lost:
            missing = f"{recorded.memory.lost:,}"
            notes.append(f"the counter of memory stops early: allocations and frees that found no room: {missing}")
        events += _counters(recorded.memory.samples, (origin, end), lanes)
    events += lanes.metadata() + arrows.events
    metadata = [event for event in events if event["ph"] == "M"]
    # Viewers take what begins first and lasts longest for what is outside.
    timed = sorted((event for event in events if event["ph"] != "M"), key=lambda event: event["ts"])
    return {
        "displayTimeUnit": "ns",
        "otherData": {"written_by": f"pyprof {pyprof.__version__}", "notes": notes},
        "traceEvents": metadata + timed,
    }


def _host_events(recorded: LastSteps, slices: Sequence[Slice], origin: int, arrows: _Arrows) -> list[Event]:
    """The slices of the host's threads, and an arrow from every call to the backward of its nodes."""
    names: dict[int, list[str]] = defaultdict(list)
    events: list[Event] = []
    for each in slices:
        if each.phase not in names[each.thread]:
            names[each.thread].append(each.phase)
        arguments: dict[str, Any] = {}
        name = each.phase if each.phase == "step" else _OUTSIDE
        if each.layer != NOBODY:
            fact = recorded.facts[each.layer]
            name = fact.path or fact.type
            arguments = {"layer": fact.path, "type": fact.type, "kind": fact.kind}
        if each.nodes:
            arguments["nodes"] = each.nodes
        events.append(
            _complete(name, each.phase, (_HOST, each.thread + 1), (each.begin - origin, each.end - origin), arguments)
        )
    shown = set(map(id, slices))
    for each in slices:
        for moment, call in each.calls:
            if id(call) in shown:
                begin = _HOST, call.thread + 1, call.begin - origin
                arrows.add("forward to backward", begin, (_HOST, each.thread + 1, moment - origin))
    model = recorded.facts[0].type
    events.append(_metadata("process_name", _HOST, 0, name=f"host: {model}"))
    for thread, phases in names.items():
        events.append(_metadata("thread_name", _HOST, thread + 1, name=f"thread {thread + 1}: {', '.join(phases)}"))
        events.append(_metadata("thread_sort_index", _HOST, thread + 1, sort_index=thread + 1))
    return events


def _device_events(
    recorded: LastSteps,
    work: tuple[DeviceRecords, npt.NDArray[np.uint64]],
    window: tuple[int, int],
    arrows: _Arrows,
    lanes: _Lanes,
) -> list[Event]:
    """What devices did on their streams of what was launched in the window, and an arrow from each launch."""
    origin, end = window
    records, numbers = work
    launches, launch, sites, phases, _ = launch_and_place(records)
    parents, layers = recorded.sites["parent"].tolist(), recorded.sites["layer"].tolist()
    places = places_of(parents, layers, recorded.paths, recorded.modules)
    threads = {int(number): place for place, number in enumerate(recorded.trace.threads)}
    events: list[Event] = []
    rows = zip(records.operations, launch.tolist(), sites.tolist(), phases.tolist(), strict=True)
    for row, launched, site, phase in sorted(rows, key=lambda entry: (int(entry[0]["begin"]), int(entry[0]["end"]))):
        call = launches[launched] if launched >= 0 else None
        began, ended = int(row["begin"]), max(int(row["begin"]), int(row["end"]))
        moment = int(call["begin"]) if call is not None and call["begin"] != NO_TIME else None
        if not origin <= (began if moment is None else moment) < end:
            continue
        arguments: dict[str, Any] = {"phase": _phase(phase)}
        if site > STEPS:
            fact = recorded.facts[places[site]]
            arguments |= {"layer": fact.path, "kind": fact.kind}
        name = category = ("kernel", "copy", "memset")[row["kind"]]
        if row["kind"] == KERNEL and row["name"] < len(records.names):
            arguments["name"] = records.names[row["name"]]
            name = short_name(arguments["name"])
        place = lanes.place(int(row["device"]), int(row["stream"]), began, ended)
        events.append(_complete(name, category, place, (began - origin, ended - origin), arguments))
        if call is None or moment is None or call["thread"] >= len(numbers):
            continue
        thread = threads.get(int(numbers[call["thread"]]))
        if thread is not None:
            arrows.add("launch", (_HOST, thread + 1, moment - origin), (*place, began - origin))
    return events


def _counters(samples: npt.NDArray[np.void], window: tuple[int, int], lanes: _Lanes) -> list[Event]:
    """How much memory was live after every allocation and free, of the host and of each device."""
    origin, end = window
    begun: set[int] = set()
    events: list[Event] = []
    for when, count, allocated, reserved, device in samples.tolist():
        process = _HOST if device == HOST else lanes.process(device)
        if device not in begun:
            begun.add(device)
            events.append(_counter("allocated memory", process, 0, allocated - count))
        # What came before the first stamp or after the last one is there too, at that stamp.
        moment = min(max(when, origin), end) - origin
        events.append(_counter("allocated memory", process, moment, allocated))
        if device != HOST:
            events.append(_counter("reserved memory", process, moment, reserved))
    return events


def _counter(name: str, process: int, moment: int, value: int) -> Event:
    return {"ph": "C", "name": name, "pid": process, "ts": _microseconds(moment), "args": {"bytes": value}}


def _phase(phase: int) -> str:
    return {FORWARD: "forward", RECOMPUTE: "recompute"}.get(phase, "backward")


class _Arrows:
    """Arrows from the innermost slice at one moment to that at another one, each with its process and its thread."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, name: str, begin: tuple[int, int, int], end: tuple[int, int, int]) -> None:
        """Moments are nanoseconds."""
        number = 1 + len(self.events) // 2
        for phase, (process, thread, moment) in (("s", begin), ("f", end)):
            event = {"ph": phase, "name": name, "cat": name, "id": number, "pid": process, "tid": thread}
            self.events.append({**event, "ts": _microseconds(moment), **({"bp": "e"} if phase == "f" else {})})


class _Lanes:
    """Gives a device a process of the viewer and a stream a thread, and more of these where its work overlaps."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)  # thread and end of the last one
        self._threads: dict[int, int] = defaultdict(int)

    def place(self, device: int, stream: int, begin: int, end: int) -> tuple[int, int]:
        """The process and the thread for work that begins no earlier than that before it."""
        lanes = self._lanes[device, stream]
        free = next((i for i, (_, last) in enumerate(lanes) if last <= begin), len(lanes))
        if free == len(lanes):
            self._threads[device] += 1
            lanes.append((self._threads[device], end))
        lanes[free] = lanes[free][0], end
        return self.process(device), lanes[free][0]

    def process(self, device: int) -> int:
        """The process for a device, which then has a name."""
        self._threads[device] += 0
        return _HOST + 1 + device

    def metadata(self) -> list[Event]:
        """The names of all of them."""
        events = [_metadata("process_name", _HOST + 1 + device, 0, name=f"device {device}") for device in self._threads]
        for (device, stream), lanes in self._lanes.items():
            for number, (thread, _) in enumerate(lanes, 1):
                name = f"stream {stream}" if number == 1 else f"stream {stream}, overlapping ({number})"
                events.append(_metadata("thread_name", _HOST + 1 + device, thread, name=name))
        return events


def _complete(
    name: str, category: str, place: tuple[int, int], bounds: tuple[int, int], arguments: dict[str, Any]
) -> Event:
    begin, end = bounds
    event = {"ph": "X", "name": name, "cat": category, "pid": place[0], "tid": place[1]}
    return {**event, "ts": _microseconds(begin), "dur": _microseconds(end - begin), "args": arguments}


def _metadata(name: str, process: int, thread: int, /, **arguments: Any) -> Event:
    return {"ph": "M", "name": name, "pid": process, "tid": thread, "ts": 0, "args": arguments}


def _microseconds(nanoseconds: int) -> float:
    """The format's unit; three decimals hold the nanoseconds."""
    return round(nanoseconds / 1000, 3)

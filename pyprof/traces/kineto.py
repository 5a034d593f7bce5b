"""Read a trace that torch.profiler wrote (JSON, also gzipped) into a profile. Loads no torch.

Layers are its `nn.Module` events (`with_stack=True`) and record_function ranges. A kernel belongs to the layer that was
open on the thread that launched it, which its correlation names. A backward node names the operator that made it by
autograd's sequence number, and is of the layer in which that ran. Events are read one by one, however large the file.
"""

from __future__ import annotations

import gzip
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from pyprof.errors import UsageError
from pyprof.layers.device_work import BACKWARD, COPY, FORWARD, KERNEL, MEMSET
from pyprof.layers.profile import Profile
from pyprof.traces.recording import NOTHING, STEP, Interval, Recording, Timeline
from pyprof.traces.work import DeviceWork, Integers, Launches

_KINDS: Final = {"kernel": KERNEL, "gpu_memcpy": COPY, "gpu_memset": MEMSET}
_LAUNCHING: Final = ("cuda_runtime", "cuda_driver", "hip_runtime", "xpu_runtime")
_NODE: Final = "autograd::engine::evaluate_function"
_MODULE: Final = "nn.Module: "
_CHUNK: Final = 1 << 20
_LONGEST_EVENT: Final = 1 << 26
_EVENTS: Final = re.compile(r'"traceEvents"\s*:\s*\[|^\s*\[')


@dataclass
class _Events:
    """What is needed of a trace's events, by thread where they are of one."""

    ranges: dict[Any, list[tuple[int, int, str]]] = field(default_factory=dict)
    nodes: dict[Any, list[tuple[int, int, int]]] = field(default_factory=dict)  # begin, end, sequence number or -1
    made: dict[int, tuple[int, Any]] = field(default_factory=dict)  # by sequence number, the operator that came last
    launches: dict[Any, tuple[array[int], array[int]]] = field(default_factory=dict)  # correlation, begin
    work: dict[int, tuple[array[int], ...]] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    head: str = ""
    has_modules: bool = False
    vendors: set[str] = field(default_factory=set)


def read(path: Path) -> Profile:
    """The profile of a trace.

    Raises UsageError where the file cannot be read, is no trace, or is cut off.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}: name a trace that torch.profiler exported")
    events = _Events()
    try:
        with _opened(path) as file:
            for event in _each(file, events):
                if isinstance(event, dict) and event.get("ph") == "X":
                    _take(event, events)
    except (OSError, EOFError, ValueError, TypeError, KeyError, OverflowError, RecursionError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be read as a trace of torch.profiler: {error or type(error).__name__}"
        ) from error
    if not events.ranges and not events.nodes and not events.work and not events.launches:
        raise UsageError(f"{path} holds no event of torch.profiler: name a trace that its export_chrome_trace wrote")
    return _profile(events)


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if zipped:
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _each(file: IO[str], events: _Events) -> Iterator[Any]:
    """The events one by one; what stands before them is kept as it is written."""
    text = ""
    while not (found := _EVENTS.search(text)):
        more = file.read(_CHUNK)
        if not more or len(text) > _LONGEST_EVENT:
            raise ValueError("it has no list of traceEvents")
        text += more
    events.head = text[: found.start()]
    decode = json.JSONDecoder().raw_decode
    place = found.end()
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        if place < len(text) and text[place] == "]":
            return
        try:
            event, place = decode(text, place)
        except json.JSONDecodeError:
            more = file.read(_CHUNK)
            if not more:
                raise ValueError("it is cut off or damaged: an event does not end") from None
            text, place = text[place:] + more, 0
            if len(text) > _LONGEST_EVENT:
                raise ValueError("an event does not end") from None
            continue
        yield event


def _take(event: dict[str, Any], events: _Events) -> None:
    kind, name = event.get("cat"), str(event.get("name"))
    if kind == "python_function":
        if name.startswith(_MODULE):
            events.has_modules = True
            module = name[len(_MODULE) :]
            events.types[_part(module)] = module.rpartition("_")[0] or module
            _range(event, module, events)
    elif kind == "user_annotation":
        if not name.startswith("Optimizer."):
            _range(event, name, events)
    elif kind == "cpu_op":
        about = event.get("args", {})
        sequence = about.get("Sequence number", -1)
        if name.startswith(_NODE):
            begin, end = _times(event)
            events.nodes.setdefault(_thread(event), []).append((begin, end, int(sequence)))
        elif sequence >= 0 and not about.get("Fwd thread id"):  # the operators of a backward name their forward's
            begin, _ = _times(event)
            last = events.made.get(sequence)
            if last is None or last[0] <= begin:
                events.made[sequence] = begin, _thread(event)
    elif kind in _KINDS:
        begin, end = _times(event)
        given = event["args"]
        number = events.names.setdefault(name, len(events.names))
        columns = events.work.setdefault(_KINDS[kind], tuple(array("q") for _ in range(6)))
        row = begin, end, int(given["device"]), int(given.get("stream", 0)), int(given.get("correlation", -1)), number
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    elif kind in _LAUNCHING:
        correlation = event.get("args", {}).get("correlation")
        if name.startswith(("hip", "ze", "ur")):
            events.vendors.add("AMD" if name.startswith("hip") else "Intel")
        if correlation is not None:
            columns = events.launches.setdefault(_thread(event), (array("q"), array("q")))
            columns[0].append(int(correlation))
            columns[1].append(_times(event)[0])


def _times(event: dict[str, Any]) -> tuple[int, int]:
    """Begin and end in nanoseconds; the trace has microseconds with decimals."""
    begin, took = float(event["ts"]), float(event.get("dur", 0.0))
    return round(begin * 1000), round((begin + max(took, 0.0)) * 1000)


def _thread(event: dict[str, Any]) -> Any:
    return event.get("pid"), event.get("tid")


def _part(name: str) -> str:
    """A name as a part of a path, whose parts a dot separates."""
    return name.replace(".", "_")


def _range(event: dict[str, Any], name: str, events: _Events) -> None:
    begin, end = _times(event)
    events.ranges.setdefault(_thread(event), []).append((begin, end, name))


def _intervals(ranges: list[tuple[int, int, str]]) -> Iterator[Interval]:
    """With the path that nesting gives; steps of the profiler are no layers."""
    stack: list[tuple[int, str]] = []
    for begin, end, name in sorted(ranges, key=lambda each: (each[0], -each[1])):
        while stack and stack[-1][0] <= begin:
            stack.pop()
        if name.startswith("ProfilerStep#"):
            yield Interval(begin, end, STEP)
            continue
        path = f"{stack[-1][1]}.{_part(name)}" if stack else _part(name)
        stack.append((end, path))
        yield Interval(begin, end, FORWARD, path)


def _profile(events: _Events) -> Profile:
    recording = Recording()
    recording.types[""] = "trace"
    calls = {thread: list(_intervals(ranges)) for thread, ranges in events.ranges.items()}
    for each in (each for intervals in calls.values() for each in intervals):
        if (name := events.types.get(each.path.rpartition(".")[2])) is not None:
            recording.types[each.path] = name
    looks = {thread: recording.thread(intervals, only_look=True) for thread, intervals in calls.items()}
    threads = sorted(
        {*calls, *events.nodes},
        key=lambda thread: (all(each.phase != STEP for each in calls.get(thread, [])), str(thread)),
    )
    timelines: dict[Any, Timeline] = {}
    for thread in threads:
        nodes = list(_backward(events.nodes.get(thread, []), events.made, looks))
        timelines[thread] = recording.thread([*calls.get(thread, []), *nodes])
    notes = _notes(events)
    if not events.work:
        return recording.profile(None, "kineto", notes)
    work = DeviceWork(_launches(events, timelines), recording.steps)
    for kind, columns in events.work.items():
        begin, end, device, stream, correlation, name_of = (np.frombuffer(column, np.int64) for column in columns)
        work.add(kind, begin, end, device, stream, correlation, name_of)
    return recording.profile(work.finish({number: name for name, number in events.names.items()}), "kineto", notes)


def _backward(
    nodes: list[tuple[int, int, int]], made: dict[int, tuple[int, Any]], looks: dict[Any, Timeline]
) -> Iterator[Interval]:
    """Nodes with the place of the call that made them; one without a number goes with the one before it."""
    last = 0
    for begin, end, sequence in sorted(nodes):
        maker = made.get(sequence) if sequence >= 0 else None
        if maker is not None and maker[0] <= begin:
            sites, _ = looks.get(maker[1], NOTHING).at(np.array([maker[0]]))
            last = int(sites[0])
        elif sequence >= 0:
            last = 0
        yield Interval(begin, end, BACKWARD, site=last)


def _launches(events: _Events, timelines: dict[Any, Timeline]) -> Launches:
    parts: list[tuple[Integers, ...]] = []
    for thread, (correlations, begins) in events.launches.items():
        begin = np.frombuffer(begins, np.int64)
        parts.append((np.frombuffer(correlations, np.int64), begin, *timelines.get(thread, NOTHING).at(begin)))
    if not parts:
        return Launches.of(*(np.empty(0, np.int64) for _ in range(4)))
    keys, begin, sites, phases = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Launches.of(keys, begin, sites, phases)


def _notes(events: _Events) -> list[str]:
    """What the trace lacks, a sentence each."""
    notes = []
    if not events.has_modules:
        notes.append(
            "there are no nn.Module events in it: layers are its record_function ranges; record it with with_stack=True"
            if events.ranges
            else "there are no nn.Module events and no record_function ranges in it: record it with with_stack=True"
        )
    if not events.work:
        notes.append("no work of a GPU was recorded: the times are the host's")
    ranks = re.search(r'"world_size"\s*:\s*(\d+)', events.head)
    if ranks and int(ranks[1]) > 1:
        rank = re.search(r'"rank"\s*:\s*(\d+)', events.head)
        notes.append(f"this is rank {rank[1] if rank else '?'} of {ranks[1]}: the others have traces of their own")
    notes += [f"the device is one of {vendor}'s" for vendor in sorted(events.vendors)]
    return notes

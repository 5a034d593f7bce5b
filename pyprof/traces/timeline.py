"""The last step of some probes as bars on rows, to be drawn: threads, streams, and what ran inside of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyprof.traces.export import document

if TYPE_CHECKING:
    from pyprof.layers.last_steps import LastSteps


@dataclass(frozen=True)
class Bar:
    """One stretch of time, in seconds since the step began; `row` is its place from the top of the picture.

    `kind` is that of the layer, None where it is of none. `phase` is step, forward, recompute, backward or what a
    device did: kernel, copy, memset.
    """

    row: int
    begin: float
    end: float
    name: str
    phase: str
    kind: str | None


@dataclass(frozen=True)
class Lane:
    """A thread or a stream: its name, and the first of its rows."""

    row: int
    name: str


@dataclass(frozen=True)
class Timeline:
    """One step: `rows` counts all rows, and `notes` say what is not there."""

    lanes: tuple[Lane, ...]
    bars: tuple[Bar, ...]
    rows: int
    notes: tuple[str, ...] = ()


def timeline_of(recorded: LastSteps) -> Timeline:
    """The last marked step, what other threads did meanwhile and what devices did; raises UsageError without any."""
    return _timeline(document(recorded))


def _timeline(trace: dict[str, Any]) -> Timeline:
    events = trace["traceEvents"]
    called = {
        (event["name"], event["pid"], event["tid"]): event["args"].get("name") for event in events if event["ph"] == "M"
    }
    names = {
        (pid, tid): f"{called['process_name', pid, 0]}, {name}"
        for (what, pid, tid), name in called.items()
        if what == "thread_name"
    }
    places: dict[tuple[int, int], list[dict[str, Any]]] = {place: [] for place in sorted(names)}
    for event in events:
        if event["ph"] == "X":
            places.setdefault((event["pid"], event["tid"]), []).append(event)
    lanes, bars, row = [], [], 0
    for place, own in places.items():
        if not own:
            continue
        lanes.append(Lane(row, names.get(place, "")))
        depth = _depths(own)
        first = row + 1  # the lane's name has a row of its own
        bars += [_bar(first + level, event) for level, event in zip(depth, own, strict=True)]
        row = first + max(depth) + 1
    return Timeline(tuple(lanes), tuple(bars), row, tuple(trace["otherData"]["notes"]))


def _depths(events: list[dict[str, Any]]) -> list[int]:
    """How many of a lane's events are around each; they come with the outer ones first."""
    depths: list[int] = []
    ends: list[float] = []
    for event in events:
        while ends and ends[-1] <= event["ts"]:
            ends.pop()
        depths.append(len(ends))
        ends.append(round(event["ts"] + event["dur"], 3))
    return depths


def _bar(row: int, event: dict[str, Any]) -> Bar:
    begin = event["ts"] / 1e6
    kind = event.get("args", {}).get("kind")
    return Bar(row, begin, begin + event["dur"] / 1e6, event["name"], event["cat"], kind)

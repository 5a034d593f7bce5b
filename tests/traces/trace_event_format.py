"""A strict reader of the trace-event format: what it returns has been checked, in whole nanoseconds."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REQUIRED = {
    "X": {"name", "cat", "pid", "tid", "ts", "dur", "args"},
    "B": {"name", "cat", "pid", "tid", "ts"},
    "E": {"pid", "tid", "ts"},
    "s": {"name", "cat", "pid", "tid", "ts", "id"},
    "f": {"name", "cat", "pid", "tid", "ts", "id", "bp"},
    "C": {"name", "pid", "ts", "args"},
    "M": {"name", "pid", "tid", "args"},
}
METADATA = {"process_name": "name", "thread_name": "name", "thread_sort_index": "sort_index"}


class FormatError(AssertionError):
    """The file breaks the format."""


@dataclass(eq=False)
class Slice:
    """A slice of one thread: its own time is without the slices inside of it."""

    name: str
    category: str
    place: tuple[int, int]
    begin: int
    end: int
    arguments: dict[str, Any]
    around: Slice | None = None
    inside: list[Slice] = field(default_factory=list)

    @property
    def took(self) -> int:
        return self.end - self.begin

    @property
    def own(self) -> int:
        return self.took - sum(each.took for each in self.inside)

    def outer(self) -> list[Slice]:
        """All slices around it, the nearest first."""
        return [] if self.around is None else [self.around, *self.around.outer()]


@dataclass
class Checked:
    """What a trace shows: its slices, arrows as (name, from, to), counters as (time, values), and names."""

    slices: list[Slice]
    arrows: list[tuple[str, Slice, Slice]]
    counters: dict[tuple[int, str], list[tuple[int, dict[str, float]]]]
    processes: dict[int, str]
    threads: dict[tuple[int, int], str]
    other: dict[str, Any]


def read(path: Path) -> Checked:
    """Read a file and check it; raises FormatError."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data

    def refused(constant):
        raise FormatError(f"{constant} is no JSON")

    return check(json.loads(text, parse_constant=refused))


def need(holds: bool, what: str, event: Any = "") -> None:
    if not holds:
        raise FormatError(f"{what}: {event}")


def nanoseconds(event: dict[str, Any], key: str) -> int:
    value = event[key]
    need(type(value) in (int, float) and math.isfinite(value), f"{key} is no number", event)
    whole = round(value * 1000)
    need(abs(value * 1000 - whole) < 1e-3, f"{key} is no whole number of nanoseconds", event)
    return whole


def check(document: Any) -> Checked:
    """Check a document; raises FormatError."""
    need(isinstance(document, dict) and isinstance(document.get("traceEvents"), list), "no list of events")
    need(document.get("displayTimeUnit") in ("ns", "ms"), "displayTimeUnit")
    places: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    checked = Checked([], [], defaultdict(list), {}, {}, document.get("otherData", {}))
    flows: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = defaultdict(dict)
    for event in document["traceEvents"]:
        need(isinstance(event, dict) and event.get("ph") in REQUIRED, "an unknown phase", event)
        need(event.keys() >= REQUIRED[event["ph"]], "a key is missing", event)
        for key in ("pid", "tid"):
            need(key not in event or type(event[key]) is int, f"{key} is no whole number", event)
        if event["ph"] == "M":
            metadata(checked, event)
        elif event["ph"] in "sf":
            known = flows[event["cat"], event["name"], event["id"]]
            need(event["ph"] not in known, "an arrow's end twice", event)
            known[event["ph"]] = event
        elif event["ph"] == "C":
            count(checked, event)
        else:
            places[event["pid"], event["tid"]].append(event)
    for process, name in checked.counters:
        need(bool(checked.processes.get(process)), "a counter of a process without a name", name)
    for place, events in places.items():
        checked.slices += nested(place, events)
    named(checked, [*places, *((event["pid"], event["tid"]) for flow in flows.values() for event in flow.values())])
    for (_, name, _), ends in flows.items():
        need(ends.keys() == {"s", "f"}, "an arrow without its other end", ends)
        need(nanoseconds(ends["s"], "ts") <= nanoseconds(ends["f"], "ts"), "an arrow goes back in time", ends)
        checked.arrows.append((name, around(checked.slices, ends["s"]), around(checked.slices, ends["f"])))
    return checked


def count(checked: Checked, event: dict[str, Any]) -> None:
    """A counter belongs to a process, whatever thread it names; all events of it have the same series."""
    need(isinstance(event["args"], dict) and bool(event["args"]), "a counter without a series", event)
    for value in event["args"].values():
        need(type(value) in (int, float) and math.isfinite(value), "a counter's value is no number", event)
        need(value >= 0, "a counter's value is negative", event)
    need(isinstance(event["name"], str) and bool(event["name"]), "a counter without a name", event)
    series = checked.counters[event["pid"], event["name"]]
    moment = nanoseconds(event, "ts")
    need(moment >= 0, "a negative time", event)
    if series:
        need(series[-1][0] <= moment, "a counter goes back in time", event)
        need(series[-1][1].keys() == event["args"].keys(), "a counter changes its series", event)
    series.append((moment, event["args"]))


def metadata(checked: Checked, event: dict[str, Any]) -> None:
    need(event["name"] in METADATA and METADATA[event["name"]] in event["args"], "unknown metadata", event)
    place = event["pid"], event["tid"]
    if event["name"] == "process_name":
        need(event["pid"] not in checked.processes, "a process named twice", event)
        checked.processes[event["pid"]] = event["args"]["name"]
    elif event["name"] == "thread_name":
        need(place not in checked.threads, "a thread named twice", event)
        checked.threads[place] = event["args"]["name"]


def named(checked: Checked, places: list[tuple[int, int]]) -> None:
    for process, thread in places:
        need(bool(checked.processes.get(process)), "a process without a name", process)
        need(bool(checked.threads.get((process, thread))), "a thread without a name", (process, thread))


def nested(place: tuple[int, int], events: list[dict[str, Any]]) -> list[Slice]:
    """The slices of one thread, in the order of the file: each lies in the one around it, or beside it."""
    slices: list[Slice] = []
    stack: list[Slice] = []
    for event in events:
        begin = nanoseconds(event, "ts")
        need(event["ph"] == "X", "begins and ends are not written by pyprof", event)
        took = nanoseconds(event, "dur")
        need(begin >= 0 and took >= 0, "a negative time", event)
        need(not slices or slices[-1].begin <= begin, "events of a thread are not in order", event)
        while stack and stack[-1].end <= begin:
            stack.pop()
        one = Slice(
            event["name"], event["cat"], place, begin, begin + took, event["args"], stack[-1] if stack else None
        )
        need(bool(one.name), "a slice without a name", event)
        if stack:
            need(one.end <= stack[-1].end, f"overlaps {stack[-1].name} without being inside", event)
            stack[-1].inside.append(one)
        stack.append(one)
        slices.append(one)
    return slices


def around(slices: list[Slice], event: dict[str, Any]) -> Slice:
    """The innermost slice at the moment of an arrow's end, as viewers bind it."""
    moment, place = nanoseconds(event, "ts"), (event["pid"], event["tid"])
    here = [each for each in slices if each.place == place and each.begin <= moment < max(each.end, each.begin + 1)]
    need(bool(here), "an arrow's end lies in no slice", event)
    return max(here, key=lambda each: len(each.outer()))

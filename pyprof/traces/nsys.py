"""Read an export of Nsight Systems (SQLite) into a profile. Loads no torch.

A kernel belongs to the innermost range of the domain `pyprof` that was open, on the thread that launched it, when its
launch began; one that a CUDA graph replays to that which was open when its node was made. Rows are read once, in parts;
the file is opened for reading only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.layers.device_work import BACKWARD, COPY, FORWARD, KERNEL, MEMSET, RECOMPUTE
from pyprof.layers.profile import Profile
from pyprof.quantity import plural
from pyprof.traces.recording import NOTHING, STEP, Interval, Recording, Timeline
from pyprof.traces.work import NO_LAUNCHES, DeviceWork, GraphNodes, Integers, Launches, joined

DOMAIN: Final = "pyprof"
_PUSH_POP, _START_END, _DOMAIN_CREATED = 59, 60, 75
# The categories of csrc/recorder/annotations.h that stand for layers and steps.
_PHASES: Final = {1: FORWARD, 2: BACKWARD, 3: RECOMPUTE, 5: STEP}
_PART: Final = 1 << 17  # rows
_GRAPH_NODES: Final = "CUDA_GRAPH_NODE_EVENTS"
_WHOLE_GRAPHS: Final = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
_THREAD_BITS: Final = 0xFFFFFF
_TABLES: Final = {
    KERNEL: "CUPTI_ACTIVITY_KIND_KERNEL",
    COPY: "CUPTI_ACTIVITY_KIND_MEMCPY",
    MEMSET: "CUPTI_ACTIVITY_KIND_MEMSET",
}


def read(path: Path) -> Profile:
    """The profile of an export.

    Raises UsageError where the file cannot be read, is no export, or has nothing in it that a layer table is made of.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}: name an export of `nsys export --type sqlite`")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            return _profile(connection, path)
        finally:
            connection.close()
    except (sqlite3.Error, OverflowError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read as an export of Nsight Systems: {error}") from error


def _profile(connection: sqlite3.Connection, path: Path) -> Profile:
    columns = _schema(connection)
    ranged = "NVTX_EVENTS" in columns
    present = {kind: table for kind, table in _TABLES.items() if table in columns}
    if not ranged and not present:
        raise UsageError(
            f"{path} holds neither NVTX ranges nor work of a GPU: name an export of `nsys export --type sqlite`"
        )
    notes: list[str] = []
    recording = Recording()
    timelines = _ranges(connection, columns, recording, notes) if ranged else {}
    if not timelines:
        notes.append(
            "there are no ranges of pyprof in it: record it with `pyprof profile MODEL --nsys`, or with PYPROF_NVTX=1"
        )
    if not present:
        notes.append("no work of a GPU was recorded: the times are the host's")
        return recording.profile(None, "nsys", notes)
    processes = _Processes()
    nodes = _graph_nodes(connection, columns, timelines, notes)
    work = DeviceWork(_launches(connection, columns, timelines, processes, notes), recording.steps, nodes)
    replayed = sum(
        _read_work(connection, columns[table], kind, table, work, nodes, processes) for kind, table in present.items()
    )
    if replayed and _GRAPH_NODES not in columns:
        notes.append(
            "what CUDA graphs replay is of the layer that launched the graph: where their nodes were made is not in it"
        )
    names = {}
    if "StringIds" in columns:
        kernels = columns.get(_TABLES[KERNEL], set())
        wanted = "demangledName" if "demangledName" in kernels else "shortName"
        if wanted in kernels:
            names = dict(
                connection.execute(
                    f"SELECT id, value FROM StringIds WHERE id IN (SELECT DISTINCT {wanted} FROM {_TABLES[KERNEL]})"
                )
            )
    return recording.profile(work.finish(names), "nsys", notes)


def _schema(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """The columns of every table."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
    return {name: {row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')} for name in tables}


def _need(columns: set[str], table: str, *names: str) -> None:
    missing = [name for name in names if name not in columns]
    if missing:
        raise UsageError(
            f"the table {table} has no column {missing[0]}: pyprof reads exports of Nsight Systems from 2022 on, "
            "export the report again with a newer one"
        )


def _ranges(
    connection: sqlite3.Connection, columns: dict[str, set[str]], recording: Recording, notes: list[str]
) -> dict[int, Timeline]:
    """What was open in each thread; ranges of other domains are left out."""
    table = columns["NVTX_EVENTS"]
    _need(table, "NVTX_EVENTS", "start", "end", "eventType", "category", "text", "globalTid", "domainId")
    named = "textId" in table and "StringIds" in columns
    text = "COALESCE(text, value)" if named else "text"
    joined = "LEFT JOIN StringIds ON id = textId" if named else ""
    domains = [
        domain
        for (domain,) in connection.execute(
            f"SELECT domainId FROM NVTX_EVENTS {joined} WHERE eventType = {_DOMAIN_CREATED} AND {text} = ?", (DOMAIN,)
        )
    ]
    if not domains:
        return {}
    query = (
        f"SELECT globalTid, start, end, category, {text} FROM NVTX_EVENTS {joined} "
        f"WHERE eventType IN ({_PUSH_POP}, {_START_END}) AND domainId IN ({','.join('?' * len(domains))})"
    )
    threads: dict[int, list[Interval]] = {}
    same: dict[str, str] = {}  # a name, once for all of its ranges
    open_ranges, roots = 0, set()
    for thread, start, end, category, name in connection.execute(query, domains):
        phase = _PHASES.get(category)
        if phase is None or name is None:
            continue
        if end is None:
            open_ranges += 1
            continue
        threads.setdefault(thread, []).append(
            Interval(int(start), int(end), phase, same.setdefault(str(name), str(name)))
        )
    if open_ranges:
        notes.append(f"{plural(open_ranges, 'range')} had not ended when the recording did: they are left out")
    for intervals in threads.values():
        roots |= _outermost(intervals)
    named_by = {"": next(iter(roots))} if len(roots) == 1 else {}
    recording.types.update(named_by)
    with_steps = sorted(threads, key=lambda thread: all(each.phase != STEP for each in threads[thread]))
    return {thread: recording.thread(_paths(threads.pop(thread), named_by.get(""))) for thread in with_steps}


def _outermost(intervals: Sequence[Interval]) -> set[str]:
    """The names of the outermost layers of a thread: a path is the name of all but the root, whose class it is."""
    found, until = set(), -1
    for each in sorted(intervals, key=lambda each: (each.begin, -each.end)):
        if each.phase in (FORWARD, BACKWARD) and each.begin >= until:
            found.add(each.path)
            until = each.end
    return found


def _paths(intervals: Sequence[Interval], root: str | None) -> Iterator[Interval]:
    for each in intervals:
        is_root = each.phase == STEP or each.path == root
        yield Interval(each.begin, each.end, each.phase, "") if is_root else each


def _parts(connection: sqlite3.Connection, query: str) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of a query as columns of integers, a part after the other; what is null is -1."""
    cursor = connection.execute(query)
    while rows := cursor.fetchmany(_PART):
        yield np.array(rows, dtype=np.int64).T


def _launches(
    connection: sqlite3.Connection,
    columns: dict[str, set[str]],
    timelines: dict[int, Timeline],
    processes: _Processes,
    notes: list[str],
) -> Launches:
    table = "CUPTI_ACTIVITY_KIND_RUNTIME"
    if table not in columns:
        notes.append("the calls that launched the work were not recorded (-t cuda): no kernel can be given to a layer")
        return NO_LAUNCHES
    _need(columns[table], table, "start", "globalTid", "correlationId")
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for start, thread, correlation in _parts(
        connection, f"SELECT start, globalTid, correlationId FROM {table} WHERE correlationId > 0"
    ):
        sites, phases = np.empty(len(start), np.int32), np.empty(len(start), np.int8)
        for each in np.unique(thread).tolist():
            mine = thread == each
            sites[mine], phases[mine] = timelines.get(each, NOTHING).at(start[mine])
        parts.append((processes.keys(thread, correlation), start.copy(), sites, phases))
    if not parts:
        return NO_LAUNCHES
    by_column: list[list[Any]] = [list(column) for column in zip(*parts, strict=True)]
    parts.clear()
    return Launches.of(*(joined(column) for column in by_column))


def _graph_nodes(
    connection: sqlite3.Connection, columns: dict[str, set[str]], timelines: dict[int, Timeline], notes: list[str]
) -> GraphNodes:
    """Where the nodes of graphs were made, by process; a node that was cloned names the one that it is a copy of."""
    nodes = GraphNodes()
    if _WHOLE_GRAPHS in columns:
        (launches,) = connection.execute(f"SELECT COUNT(*) FROM {_WHOLE_GRAPHS}").fetchone()
        if launches:
            notes.append(
                f"CUDA graphs that were launched and recorded as a whole: {launches:,}; what they ran is missing here: "
                "record with --cuda-graph-trace=node"
            )
    if _GRAPH_NODES in columns:
        _need(columns[_GRAPH_NODES], _GRAPH_NODES, "start", "globalTid", "graphNodeId", "originalGraphNodeId")
        query = (
            f"SELECT start, COALESCE(globalTid, 0), graphNodeId, COALESCE(originalGraphNodeId, 0) FROM {_GRAPH_NODES} "
            "WHERE graphNodeId IS NOT NULL ORDER BY start"
        )
        for start, thread, node, source in _parts(connection, query):
            for each in zip(start.tolist(), thread.tolist(), node.tolist(), source.tolist(), strict=True):
                sites, phases = timelines.get(each[1], NOTHING).at(np.array(each[:1]))
                nodes.add(each[1] & ~_THREAD_BITS, each[2], each[3], (int(sites[0]), int(phases[0])))
    nodes.finish()
    return nodes


class _Processes:
    """Numbers for processes: a launch is named by its process and its correlation."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def keys(self, owner: Integers, correlation: Integers) -> Integers:
        """`owner` is a thread or a process of the export; they differ in the low bits."""
        keys = np.empty(len(owner), np.int64)
        process = owner & ~_THREAD_BITS
        for each in np.unique(process).tolist():
            mine = process == each
            keys[mine] = (self._numbers.setdefault(each, len(self._numbers)) << 32) | (correlation[mine] & 0xFFFFFFFF)
        return keys


def _read_work(
    connection: sqlite3.Connection,
    columns: set[str],
    kind: int,
    table: str,
    work: DeviceWork,
    nodes: GraphNodes,
    processes: _Processes,
) -> int:
    """Add up a table; how many of its operations graphs have replayed."""
    _need(columns, table, "start", "end", "deviceId", "streamId", "correlationId")
    name = next((each for each in ("demangledName", "shortName") if each in columns and kind == KERNEL), "0")
    process = "globalPid" if "globalPid" in columns else "0"
    graph_node = "COALESCE(graphNodeId, 0)" if "graphNodeId" in columns else "0"
    query = f"SELECT start, end, deviceId, streamId, correlationId, {process}, {name}, {graph_node} FROM {table}"
    replayed = 0
    for start, end, device, stream, correlation, pid, number, node in _parts(connection, query):
        found = None
        if node.any():
            replayed += int(np.count_nonzero(node))
            found = nodes.find(pid & ~_THREAD_BITS, node)
        work.add(kind, start, end, device, stream, processes.keys(pid, correlation), number, found)
    return replayed

"""An export of Nsight Systems, written by hand: known ranges, launches and work."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

FORWARD, BACKWARD, RECOMPUTE, OPTIMIZER, STEP, CASE = range(1, 7)
PROCESS = 0x1_0000_5000_0000
MAIN, AUTOGRAD = PROCESS | 0x51, PROCESS | 0x52
SCHEMA = """
CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER,
  category INTEGER, color INTEGER, text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER,
  domainId INTEGER, uint64Value INTEGER, int64Value INTEGER, doubleValue REAL);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER,
  globalTid INTEGER, correlationId INTEGER, nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  contextId INTEGER, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, demangledName INTEGER,
  shortName INTEGER, gridX INTEGER, graphNodeId INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER,
  streamId INTEGER, correlationId INTEGER, globalPid INTEGER, bytes INTEGER, graphNodeId INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMSET (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER,
  streamId INTEGER, correlationId INTEGER, globalPid INTEGER, bytes INTEGER, graphNodeId INTEGER);
CREATE TABLE CUDA_GRAPH_NODE_EVENTS (start INTEGER NOT NULL, end INTEGER, nameId INTEGER, globalTid INTEGER,
  graphNodeId INTEGER, originalGraphNodeId INTEGER);
"""


class Export:
    """The tables of an export, filled row by row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path)
        self.connection.executescript(SCHEMA)
        self._strings: dict[str, int] = {}
        self._correlation = 0
        self.row("NVTX_EVENTS", start=0, eventType=75, text="NCCL", domainId=1, globalTid=MAIN)
        self.row("NVTX_EVENTS", start=0, eventType=75, text="pyprof", domainId=2, globalTid=MAIN)

    def row(self, table: str, **values: Any) -> None:
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))

    def string(self, text: str) -> int:
        if text not in self._strings:
            self._strings[text] = len(self._strings) + 1
            self.row("StringIds", id=self._strings[text], value=text)
        return self._strings[text]

    def range(self, start: int, end: int | None, name: str, category: int, thread: int = MAIN, domain: int = 2) -> None:
        self.row(
            "NVTX_EVENTS",
            start=start,
            end=end,
            eventType=59,
            category=category,
            textId=self.string(name),
            globalTid=thread,
            domainId=domain,
        )

    def launch(self, start: int, thread: int = MAIN, correlation: int | None = None, seen: bool = True) -> int:
        """The correlation of a launch call."""
        self._correlation = correlation or self._correlation + 1
        if seen:
            self.row(
                "CUPTI_ACTIVITY_KIND_RUNTIME",
                start=start,
                end=start + 5,
                globalTid=thread,
                correlationId=self._correlation,
                nameId=self.string("cudaLaunchKernel"),
                returnValue=0,
            )
        return self._correlation

    def work(
        self,
        kind: str,
        start: int,
        end: int,
        correlation: int,
        name: str = "",
        device: int = 0,
        process: int = PROCESS,
        stream: int = 7,
        node: int | None = None,
    ) -> None:
        names = {"demangledName": self.string(name), "shortName": self.string(name)} if kind == "KERNEL" else {}
        self.row(
            f"CUPTI_ACTIVITY_KIND_{kind}",
            start=start,
            end=end,
            deviceId=device,
            streamId=stream,
            correlationId=correlation,
            globalPid=process,
            graphNodeId=node,
            **names,
        )

    def graph_node(self, start: int, node: int, thread: int = MAIN, source: int | None = None) -> None:
        """A node of a CUDA graph that was made, or cloned from another one."""
        self.row(
            "CUDA_GRAPH_NODE_EVENTS",
            start=start,
            end=start,
            nameId=self.string("Graph Node Creation"),
            globalTid=thread,
            graphNodeId=node,
            originalGraphNodeId=source,
        )

    def close(self) -> Path:
        self.connection.commit()
        self.connection.close()
        return self.path


def two_steps(path: Path) -> Export:
    """Two steps of a model of two layers, a forward and a backward, with known work."""
    export = Export(path)
    for begin in (1000, 11000):
        export.range(begin, begin + 5000, "step", STEP)
        export.range(begin + 100, begin + 1000, "Net", FORWARD)
        export.range(begin + 200, begin + 400, "attention", FORWARD)
        export.work("KERNEL", begin + 500, begin + 800, export.launch(begin + 300), "void gemm<float>(int)")
        export.range(begin + 500, begin + 900, "mlp", FORWARD)
        export.range(begin + 550, begin + 650, "theirs", FORWARD, domain=1)  # of another domain
        export.work("KERNEL", begin + 800, begin + 900, export.launch(begin + 600), "relu", stream=8)
        export.work("MEMCPY", begin + 900, begin + 950, export.launch(begin + 700))
        export.work("KERNEL", begin + 960, begin + 990, export.launch(begin + 950), "sum")  # in Net itself
        export.work("MEMSET", begin + 1200, begin + 1210, export.launch(begin + 1100))  # in no layer
        for name, at in (("mlp", 1500), ("attention", 2500)):
            export.range(begin + at, begin + at + 500, "Net", BACKWARD, AUTOGRAD)
            export.range(begin + at + 10, begin + at + 490, name, BACKWARD, AUTOGRAD)
            launch = export.launch(begin + at + 100, AUTOGRAD)
            for part in range(2):  # one launch of a graph with two kernels
                start = begin + at + 200 + 100 * part
                export.work("KERNEL", start, start + 70, launch, "void gemm<float>(int)", device=part)
    export.work("KERNEL", 8000, 8100, export.launch(7000), "between the steps")
    return export


def replayed_graph(path: Path) -> Export:
    """A forward and a backward that were captured into a graph before two steps, each of which launches it."""
    export = Export(path)
    export.range(100, 900, "Net", FORWARD)
    for name, begin, node in (("attention", 200, 11), ("mlp", 500, 12)):
        export.range(begin, begin + 200, name, FORWARD)
        export.graph_node(begin + 100, node)
    export.graph_node(800, 13)  # in Net itself
    export.range(1000, 1300, "Net", BACKWARD, AUTOGRAD)
    export.range(1010, 1290, "mlp", BACKWARD, AUTOGRAD)
    export.graph_node(1100, 14, AUTOGRAD)
    export.graph_node(1400, 15)  # outside of every layer
    for node in (11, 12, 13, 14, 15):
        export.graph_node(1500 + node, 10 + node, source=node)
        export.graph_node(1600 + node, 20 + node, source=10 + node)  # a clone of a clone
    for begin in (11000, 21000):
        export.range(begin, begin + 5000, "step", STEP)
        launch = export.launch(begin + 100)
        for place, node in enumerate((31, 32, 33, 34, 35)):
            start = begin + 1000 + 100 * place
            export.work("KERNEL", start, start + 10 + place, launch, "relu", node=node)
        export.work("MEMCPY", begin + 2000, begin + 2007, launch, node=32)
        export.work("KERNEL", begin + 2100, begin + 2103, launch, "relu", node=99)  # nobody saw it being made
    return export

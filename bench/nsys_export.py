"""`pyprof nsys` on a generated export of many kernels, against a plain scan of the rows that it needs."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness import Bar, Figures, note, parser, publish

METHOD = """\
An export as Nsight Systems writes it (its columns, rows in the order of time) is generated: steps of 1,000 kernels,
each launched by a call of its own, ten in the range of a layer. It is read by `pyprof nsys --json` in a process of its
own, whose peak memory is its largest resident set. The plain scan goes through the rows that this needs, of the ranges,
the launch calls and the kernels, in Python's sqlite3 in another process, and does nothing with them. Both are taken in
turn, and stand as the shortest of the rounds.
"""
STEP, LAYERS, PROCESS = 1000, 100, 0x1_0000_5000_0000
SCHEMA = """
CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER,
  category INTEGER, color INTEGER, text TEXT, globalTid INTEGER,
  endGlobalTid INTEGER, textId INTEGER, domainId INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER,
  globalTid INTEGER, correlationId INTEGER, nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  contextId INTEGER, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, demangledName INTEGER,
  shortName INTEGER, gridX INTEGER, gridY INTEGER, gridZ INTEGER, blockX INTEGER, blockY INTEGER, blockZ INTEGER,
  graphNodeId INTEGER);
"""
SCAN = """
import sqlite3, sys, time
begin = time.perf_counter()
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
rows = 0
for query in (
    "SELECT globalTid, start, end, category, textId FROM NVTX_EVENTS",
    "SELECT start, globalTid, correlationId FROM CUPTI_ACTIVITY_KIND_RUNTIME",
    "SELECT start, end, deviceId, streamId, correlationId, globalPid, demangledName, graphNodeId "
    "FROM CUPTI_ACTIVITY_KIND_KERNEL",
):
    for row in connection.execute(query):
        rows += 1
print(rows)
"""
READ = """
import resource, sys
from pyprof.cli.main import main
code = main(["nsys", sys.argv[1], "--json"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def generate(path: Path, kernels: int) -> None:
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + SCHEMA)
    names = ["step", "Net", *(f"layer.{layer}" for layer in range(LAYERS)), *(f"kernel_{each}" for each in range(50))]
    connection.executemany("INSERT INTO StringIds VALUES (?, ?)", enumerate(names))
    thread = PROCESS | 1

    def ranges() -> Iterator[tuple[int | str | None, ...]]:
        yield (0, None, 75, None, None, None, "pyprof", thread, None, None, 1)
        for step in range(kernels // STEP):
            begin = step * STEP * 10_000
            yield (begin, begin + STEP * 10_000, 59, None, 5, None, None, thread, None, 0, 1)
            yield (begin + 10, begin + STEP * 10_000 - 10, 59, None, 1, None, None, thread, None, 1, 1)
            for layer in range(LAYERS):
                at = begin + layer * 100_000
                yield (at + 100, at + 99_900, 59, None, 1, None, None, thread, None, 2 + layer, 1)

    connection.executemany(f"INSERT INTO NVTX_EVENTS VALUES ({','.join('?' * 11)})", ranges())
    connection.executemany(
        "INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?, ?, 0, ?, ?, 0, 0)",
        ((each * 10_000 + 1000, each * 10_000 + 4000, thread, each + 1) for each in range(kernels)),
    )
    connection.executemany(
        "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, 0, 1, 7, ?, ?, ?, ?, 1, 1, 1, 128, 1, 1, NULL)",
        (
            (at := each * 10_000 + 5000, at + 4000, each + 1, PROCESS, 102 + each % 50, 102 + each % 50)
            for each in range(kernels)
        ),
    )
    connection.commit()
    connection.close()


def seconds(program: str, path: Path) -> tuple[float, str, str]:
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    return time.perf_counter() - begin, done.stdout, done.stderr


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--kernels", type=int, default=10_000_000, help="default: 10,000,000")
    options.add_argument("--rounds", type=int, default=2, help="default: 2")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "export.sqlite")
        note(f"generating {chosen.kernels:,} kernels")
        generate(path, chosen.kernels)
        size = path.stat().st_size
        scans, reads, memory = [], [], 0
        for _ in range(chosen.rounds):
            scans.append(seconds(SCAN, path)[0])
            took, printed, said = seconds(READ, path)
            reads.append(took)
            memory = max(memory, int(said.split()[-1]))
            document = json.loads(printed)
            found = document["device_time"]["total"]["kernels"] * document["steps"]
            if found != chosen.kernels - chosen.kernels % STEP:
                raise RuntimeError(f"{found} kernels were found of {chosen.kernels}")
            note(f"scan {scans[-1]:.1f} s, pyprof nsys {took:.1f} s")
    rows = [("plain scan", min(scans), None), ("pyprof nsys", min(reads), memory / 1024)]
    bars = [
        Bar("pyprof nsys against a plain scan", min(reads) / min(scans), "x", 3),
        Bar("peak memory of pyprof nsys", memory / 1024, "MiB", 1024),
    ]
    title = f"{chosen.kernels:,} kernels, {size / 2**30:.2f} GiB"
    return publish(METHOD, [Figures(title, ("what", "seconds", "peak memory, MiB"), rows)], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

"""Workers: what an executor costs beside the local one, how it scales, large plans, and random kills."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness import Bar, Figures, note, parser, publish

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/executors"))

from simulated_worker import SleepingWorker, seated
from sleeping_run import sleeping_devices, sleeping_process, sleeping_study
from test_soak import soak

from pyprof.records.executor import Executor, Worker
from pyprof.records.run_directory import RECORDS, read
from pyprof.records.strict_json import parsed
from pyprof.study.run import Event, run_study

METHOD = """\
Groups are simulated: the measuring processes are real ones that sleep, so that any number of them fits any machine.

Overhead: three groups of ten seconds by the local executor, and by one worker of --executor devices, from the first
that begins to the last that has ended, both against the time that they slept. Scaling: 40 groups of half a second by
one worker and by four. Planning: 10,000 cases in groups of two by four workers that take no time, all that the
coordinator does but for waiting for the disk (fsync is left out), in a process of its own whose peak memory is read.

Kills: 300 cases, while 50 times a random worker or the coordinator is killed, and the coordinator started again. Lost
are cases without a figure in the end, twice are those with more than one line in records.jsonl.
"""
GROUP_SECONDS, GROUPS = 10.0, 3
SHORT_SECONDS, SHORT_GROUPS, WORKERS = 0.5, 40, 4
CASES, KILLED_CASES, KILLS = 10_000, 300, 50
PLAN = "--plan"


class Span:
    """From the first group that begins to the last that has ended."""

    def __init__(self) -> None:
        self.begin = self.end = 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        self.begin = self.begin or now
        self.end = now


def seconds(executor: Executor | Worker, groups: int, each: float) -> float:
    """The seconds that so many groups take."""
    os.environ["SLEEPING_SECONDS"] = str(each)
    span = Span()
    with tempfile.TemporaryDirectory() as directory:
        run_study(sleeping_study(groups), Path(directory, "run"), executor=executor, progress=span)
    return span.end - span.begin


def plan() -> dict[str, Any]:
    """The seconds and the bytes that scheduling a large plan takes, in this process."""
    os.fsync = lambda file: None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    executor = seated(*(SleepingWorker() for _ in range(WORKERS)))
    begin, worked = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as directory:
        result = run_study(sleeping_study(CASES // 2), Path(directory, "run"), executor=executor, progress=Span())
    took, worked = time.monotonic() - begin, time.process_time() - worked
    assert result.counts == {"ok": CASES}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": took, "cpu_seconds": worked, "mib": peak / 1024, "before_mib": before / 1024}


def killed() -> dict[str, int]:
    """What became of a run under random kills."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "run")
        counts = soak(path, KILLED_CASES // 2, KILLS, 11)
        records = read(path).records.values()
        lines = Counter(parsed(line)["key"] for line in (path / RECORDS).read_bytes().splitlines())
    return {
        "workers": counts["worker"],
        "coordinators": counts["coordinator"],
        "lost": KILLED_CASES - sum(record.status == "ok" for record in records),
        "twice": sum(count > 1 for count in lines.values()),
    }


def main() -> int:
    made = parser(METHOD)
    made.add_argument(PLAN, action="store_true", help="only schedule the large plan, and print what that took")
    options = made.parse_args()
    if options.plan:
        print(json.dumps(plan()))
        return 0
    note(f"{GROUPS} groups of {GROUP_SECONDS:g} s, by each of two executors")
    slept = GROUPS * GROUP_SECONDS
    local = seconds(sleeping_process({}), GROUPS, GROUP_SECONDS)
    devices = seconds(sleeping_devices(1), GROUPS, GROUP_SECONDS)
    note(f"{SHORT_GROUPS} groups of {SHORT_SECONDS:g} s, by 1 and by {WORKERS} workers")
    one = seconds(sleeping_devices(1), SHORT_GROUPS, SHORT_SECONDS)
    many = seconds(sleeping_devices(WORKERS), SHORT_GROUPS, SHORT_SECONDS)
    note(f"a plan of {CASES:,} cases")
    command = [sys.executable, __file__, PLAN]
    planned = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    note(f"{KILLED_CASES} cases under {KILLS} kills")
    kills = killed()
    tables = [
        Figures(
            "Time for groups",
            ("executor", "workers", "groups", "slept by one (s)", "took (s)"),
            [
                ("local", 1, GROUPS, slept, round(local, 3)),
                ("devices", 1, GROUPS, slept, round(devices, 3)),
                ("devices", 1, SHORT_GROUPS, SHORT_GROUPS * SHORT_SECONDS, round(one, 3)),
                ("devices", WORKERS, SHORT_GROUPS, SHORT_GROUPS * SHORT_SECONDS, round(many, 3)),
            ],
        ),
        Figures(
            "A large plan",
            ("cases", "seconds", "of the processor", "peak (MiB)"),
            [(CASES, planned["seconds"], planned["cpu_seconds"], planned["mib"])],
        ),
        Figures("Random kills", tuple(kills), [tuple(kills.values())]),
    ]
    bars = [
        Bar("overhead of devices against local, groups of 10 s", 100 * (devices / local - 1), "%", 5.0),
        Bar(f"{WORKERS} workers as fast as one", one / many, "times", 3.6, "higher"),
        Bar(f"a plan of {CASES:,} cases", planned["seconds"], "s", 10.0),
        Bar("its peak memory", planned["mib"], "MiB", 500.0),
        Bar(f"cases lost in {KILLS} random kills", kills["lost"], "cases", 0),
        Bar("cases measured twice", kills["twice"], "cases", 0),
    ]
    return publish(METHOD, tables, bars, options.json)


if __name__ == "__main__":
    sys.exit(main())

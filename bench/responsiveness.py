"""How long the command line lets one wait: its help, and the report of a run of 10,000 records."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from harness import Bar, Figures, parser, publish

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from synthetic_run import large

from pyprof.machine.environment import current_environment
from pyprof.records import study as studies
from pyprof.records.run_directory import ENVIRONMENT, RECORDS, RESOLVED, STUDY
from pyprof.records.toml import dumps
from pyprof.study.resolve import resolve

METHOD = """\
Whole processes, started seven times each: the least and the median of the wall time. The run of 10,000 records is
synthetic: the published grid of lengths, every model, implementation and mode, ten raw samples in each reading.
"""
RUNS = 7


def seconds(*command: str) -> list[float]:
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return times


def write_run(directory: Path) -> int:
    """A run directory as a study leaves it behind; returns its number of records."""
    study = studies.load("diwan2023")
    (directory / STUDY).write_text(dumps(study.to_table()))
    (directory / RESOLVED).write_text(json.dumps(resolve(study).to_json()))
    (directory / ENVIRONMENT).write_text(json.dumps(current_environment().to_json()))
    lines = list(large(10_000))
    (directory / RECORDS).write_text("\n".join(lines) + "\n")
    return len(lines)


def main() -> int:
    options = parser(METHOD).parse_args()
    pyprof = str(Path(sys.executable).with_name("pyprof"))
    with tempfile.TemporaryDirectory() as directory:
        count = write_run(Path(directory))
        times = {
            "pyprof --help": seconds(pyprof, "--help"),
            f"pyprof report, {count:,} records": seconds(pyprof, "report", directory),
        }
    rows = [(name, min(taken), median(taken)) for name, taken in times.items()]
    bars = [Bar(name, median(taken), "s", bar) for (name, taken), bar in zip(times.items(), (0.3, 3.0), strict=True)]
    return publish(METHOD, [Figures("wall time", ("command", "least, s", "median, s"), rows)], bars, options.json)


if __name__ == "__main__":
    sys.exit(main())

"""A run whose workers sleep, as a program: sleeping_run.py DIR WORKERS LENGTHS; it goes on with what is in DIR."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from simulated_machine import make_study

from pyprof.errors import PyprofError
from pyprof.executors.devices import DevicesExecutor
from pyprof.executors.seats import Seat
from pyprof.records.run_directory import STUDY
from pyprof.records.study import Study
from pyprof.study.run import RunResult, run_study
from pyprof.worker.executors import WorkerExecutor

PROGRAM = (str(Path(__file__).with_name("sleeping_process.py")),)


def sleeping_study(lengths: int, **measure: object) -> Study:
    """Two models at so many lengths: a group of two cases at each."""
    comparison = {
        "vanilla": "bert",
        "variants": ["longformer"],
        "lengths": [16 * number for number in range(1, lengths + 1)],
        "implementations": ["then"],
    }
    care = {"min_samples": 6, "max_samples": 6, "max_seconds": 100, **measure}
    return make_study(comparison=[comparison], measure=care)


def sleeping_process(variables: Mapping[str, str]) -> WorkerExecutor:
    return WorkerExecutor(variables, PROGRAM)


def sleeping_devices(workers: int) -> DevicesExecutor:
    return DevicesExecutor([Seat(f"seat {number}") for number in range(workers)], sleeping_process)


def run(directory: Path, workers: int, lengths: int, **measure: object) -> RunResult:
    study = sleeping_study(lengths, **measure)
    resume = (directory / STUDY).exists()
    return run_study(study, directory, resume=resume, executor=sleeping_devices(workers))


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except PyprofError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)

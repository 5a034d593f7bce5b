"""A run on a cluster whose workers sleep, as a program: cluster_run.py slurm|ray DIR LENGTHS; it goes on with DIR."""

from __future__ import annotations

import sys
from pathlib import Path

from sleeping_run import sleeping_study

from pyprof.errors import PyprofError
from pyprof.records.executor import Executor
from pyprof.records.run_directory import STUDY
from pyprof.study.run import RunResult, run_study

WORKERS = 2
# Measures in a child process, as on a real cluster.
WORKER = "sleeping_worker:with_a_process"


def an_executor(kind: str, directory: Path, *, resumed: bool) -> Executor:
    if kind == "ray":
        from ray_tests import RayExecutor, Wanted

        return RayExecutor(Wanted(), WORKERS, worker=WORKER)
    import slurm_tests

    return slurm_tests.an_executor(directory, WORKERS, resumed=resumed, worker=WORKER)


def run(kind: str, directory: Path, lengths: int) -> RunResult:
    resumed = (directory / STUDY).exists()
    executor = an_executor(kind, directory, resumed=resumed)
    return run_study(sleeping_study(lengths), directory, resume=resumed, executor=executor)


if __name__ == "__main__":
    try:
        run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    except PyprofError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)

"""What Slurm and Ray cost beside the local executor, and how their workers scale, on this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/executors"))
from cluster_tests import PYTHONPATH
from executors import seconds
from harness import Bar, Figures, note, parser, publish
from sleeping_run import sleeping_process

from pyprof.errors import UsageError
from pyprof.records.executor import Executor

METHOD = """\
Groups are simulated: the measuring processes are real ones that sleep, so that any number of them fits this machine.

Each is the time from the first group that begins to the last that has ended: what jobs wait in the queue and the start
of jobs and actors do not count. Overhead: groups of ten seconds by the local executor, and by two workers of each.
Scaling: forty groups of two seconds by four workers, against the time that one alone would sleep.

Slurm is Slurm itself where it is installed, else the stand-in of the tests, with the same commands; Ray is a cluster of
this machine.
"""
# What measures in a job and in an actor.
WORKER = "sleeping_worker:with_a_process"
Make = Callable[[int], Executor]


@contextmanager
def slurm(state: Path) -> Iterator[tuple[str, Make]]:
    """Slurm, and what makes its executor."""
    from fake_slurm import install
    from real_slurm import RealSlurm, missing

    from pyprof.executors.slurm_executor import SlurmExecutor
    from pyprof.executors.slurm_queue import Resources

    def make(workers: int) -> Executor:
        return SlurmExecutor(state / str(workers), workers, Resources(partition="wide"), worker=WORKER)

    why = missing()
    if why is not None:
        note(f"{why}: the stand-in of the tests takes its place")
        os.environ |= {"PATH": f"{install(state)}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(state)}
        yield "Slurm's stand-in", make
        return
    real = RealSlurm(state)
    os.environ |= real.variables
    try:
        real.start()
        yield "Slurm", make
    finally:
        real.stop()


@contextmanager
def ray(state: Path) -> Iterator[tuple[str, Make]]:
    """Ray, and what makes its executor: actors that sleep ask for no processor."""
    from pyprof.executors.ray_executor import RayExecutor, Wanted

    yield "Ray", lambda workers: RayExecutor(Wanted(cpus=0), workers, worker=WORKER)


KINDS = {"slurm": slurm, "ray": ray}


def main() -> int:
    made = parser(METHOD)
    made.add_argument("--executors", default="slurm,ray", help="which of slurm and ray (default: both)")
    made.add_argument("--groups", type=int, default=3, help="groups of ten seconds a worker (default: 3)")
    options = made.parse_args()
    os.environ["PYTHONPATH"] = PYTHONPATH
    long, short, many = 10.0, 2.0, 40
    note(f"local: {options.groups * long:.0f} s")
    local = seconds(sleeping_process({}), options.groups, long)
    rows: list[tuple[object, ...]] = [("local", 1, options.groups, options.groups * long, round(local, 3))]
    bars = []
    for kind in options.executors.split(","):
        with tempfile.TemporaryDirectory() as state:
            try:
                with KINDS[kind](Path(state)) as (name, make):
                    note(f"{name}: {options.groups * long:.0f} s and {many * short / 4:.0f} s")
                    two = seconds(make(2), 2 * options.groups, long)
                    four = seconds(make(4), many, short)
            except UsageError as error:
                note(f"{kind} is left out: {error}")
                continue
        rows.append((name, 2, 2 * options.groups, 2 * options.groups * long, round(two, 3)))
        rows.append((name, 4, many, many * short, round(four, 3)))
        bars.append(Bar(f"overhead of {name} against local, groups of 10 s", 100 * (two / local - 1), "%", 5.0))
        bars.append(Bar(f"4 workers of {name} as fast as one", many * short / four, "times", 3.6, "higher"))
    columns = ("executor", "workers", "groups", "slept by one (s)", "took (s)")
    return publish(METHOD, [Figures("Time for groups", columns, rows)], bars, options.json)


if __name__ == "__main__":
    sys.exit(main())

"""What tests of the executor slurm share: a fake Slurm on PATH, and groups that sleep."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import fake_slurm
from cluster_tests import WORKER

from pyprof.executors.slurm_executor import Pace, SlurmExecutor
from pyprof.executors.slurm_queue import Resources

QUICK = Pace(look=0.05, ask=0.2, idle=20.0)


class FakeSlurm:
    """What a test does to the cluster."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def jobs(self) -> dict[str, fake_slurm.Job]:
        with fake_slurm.opened(self.directory) as jobs:
            return {fake_slurm.name_of(job): dict(job) for job in jobs}

    def running(self) -> list[str]:
        return [name for name, job in self.jobs().items() if job["state"] == "RUNNING"]

    def end(self, name: str, state: str, number: int = signal.SIGKILL) -> None:
        with fake_slurm.opened(self.directory) as jobs:
            fake_slurm.end(next(job for job in jobs if fake_slurm.name_of(job) == name), state, number)

    def crash(self, name: str) -> None:
        """Kill the processes of a job, of which Slurm then says that it failed."""
        os.killpg(self.jobs()[name]["pid"], signal.SIGKILL)

    def processes(self) -> list[int]:
        """All processes of this cluster that run."""
        mark, found = f"FAKE_SLURM={self.directory}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    variables = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if mark in variables and any(each.startswith(b"SLURM_JOB_ID=") for each in variables):
                    found.append(int(entry.name))
        return [process for process in found if fake_slurm.is_running(process)]


def an_executor(directory: Path, workers: int = 2, **changes: object) -> SlurmExecutor:
    given = {"worker": WORKER, "pace": QUICK, **changes}
    return SlurmExecutor(directory, workers, Resources(), **given)  # type: ignore[arg-type]

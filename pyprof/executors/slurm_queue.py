"""Slurm's queue: jobs are submitted through submitit, and watched and cancelled by the name that all of a run share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyprof.errors import PyprofError, UsageError
from pyprof.failures import sentence
from pyprof.plain import printable

# Slurm's words for a job that has not ended; what is completing has.
_ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
_PENDING = {"PENDING", "CONFIGURING"}
# A controller that is busy answers late; one that is being started anew does not answer for a while.
_ANSWER_SECONDS = 30.0
# How long before the end of its time a job is told of it.
_SIGNAL_SECONDS = 10
_INSTALL = "pip install 'pyprof-transformers[slurm]'"


@dataclass(frozen=True)
class Job:
    """A job in the queue, with Slurm's words for its state and for the reason of that."""

    name: str
    state: str
    reason: str

    @property
    def alive(self) -> bool:
        return self.state in _ALIVE

    @property
    def pending(self) -> bool:
        return self.state in _PENDING


@dataclass(frozen=True)
class Resources:
    """What each job asks for: `minutes` is its time limit, None for the partition's; `more` are options of sbatch."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    minutes: int | None = None
    cpus: int = 1
    gpus: int | None = None
    memory: str | None = None
    constraint: str | None = None
    more: Mapping[str, str | bool] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """As submitit takes them."""
        named = {
            "partition": self.partition,
            "constraint": self.constraint,
            "mem": self.memory,
            "time": self.minutes,
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus,
        }
        sbatch = {"account": self.account, "qos": self.qos, **self.more}
        return {
            **{name: value for name, value in named.items() if value is not None},
            "wckey": "",
            "signal_delay_s": _SIGNAL_SECONDS,
            # A job that Slurm started again by itself would be one that nobody waits for.
            "additional_parameters": {
                **{name: value for name, value in sbatch.items() if value is not None},
                "no-requeue": True,
            },
        }


def check_installed() -> None:
    """Raise UsageError where submitit or Slurm is not there."""
    try:
        import submitit  # noqa: F401 - asked for here, so that a run does not begin without
    except ImportError as error:
        raise UsageError(
            f"the executor slurm needs submitit, which cannot be imported ({error}): {_INSTALL}"
        ) from error
    if shutil.which("srun") is None:
        raise UsageError("Slurm's srun is not on this machine: start the run on one that submits jobs")


class Queue:
    """The jobs of one run, which share the name `name`, of letters and digits; submitit's files are in `folder`."""

    def __init__(self, name: str, folder: Path, resources: Resources) -> None:
        from submitit import SlurmExecutor

        self.name = name
        self._executor = SlurmExecutor(folder=folder)
        self._executor.update_parameters(job_name=name, **resources.parameters())

    def submit(self, count: int, function: Callable[..., None], argument: object) -> None:
        """Submit an array of jobs that all call a function with the same argument; raises UsageError."""
        try:
            self._executor.map_array(function, [argument] * count)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            raise UsageError(f"Slurm does not take the jobs: {_said(error)}") from error

    def jobs(self) -> Mapping[str, Job] | None:
        """The run's jobs that the queue knows, those that ended lately included; None where it does not answer."""
        form = ["--format=%i|%T|%r", "--noheader", "--array", "--states=all", f"--name={self.name}"]
        try:
            lines = _told(["squeue", *form]).splitlines()
        except PyprofError:
            return None
        parts = (line.strip().split("|") for line in lines if line.count("|") == 2)
        return {name: Job(name, state, reason) for name, state, reason in parts}

    def cancel(self, names: Sequence[str] = ()) -> None:
        """Cancel some jobs, or all of the run; raises PyprofError where Slurm does not answer."""
        _told(["scancel", *(names or [f"--name={self.name}"])])


def _told(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PyprofError(f"{command[0]} cannot be used: {sentence(error)}") from error
    if done.returncode:
        raise PyprofError(f"{command[0]} failed: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


def _said(error: BaseException) -> str:
    """What sbatch said, which is at the end of what submitit raises."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1]) if lines else type(error).__name__

"""A Slurm of one machine, for tests: what sbatch, squeue, scancel and srun do with the options that pyprof uses.

It is called as ``python fake_slurm.py sbatch ...``, by the commands that `install` writes. Its state lies in the
directory that FAKE_SLURM names; jobs start where there is a processor (FAKE_SLURM_CORES of them) and end by themselves,
by scancel, by their time limit (FAKE_SLURM_MINUTE seconds are one of its minutes) or as a test says.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "squeue", "scancel", "srun")
Job = dict[str, Any]


def install(directory: Path) -> Path:
    """Write the commands into a directory's bin, which is to be first on PATH."""
    commands = directory / "bin"
    commands.mkdir(parents=True)
    for name in COMMANDS:
        path = commands / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{Path(__file__).resolve()}" {name} "$@"\n')
        path.chmod(0o755)
    return commands


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[list[Job]]:
    """The jobs, which nobody else sees until they are written back."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = directory / "jobs.json"
        jobs: list[Job] = json.loads(path.read_text()) if path.exists() else []
        _advance(jobs, directory)
        yield jobs
        _advance(jobs, directory)
        partial = directory / "jobs.partial"
        partial.write_text(json.dumps(jobs))
        partial.replace(path)


def end(job: Job, state: str, number: int = signal.SIGTERM) -> None:
    """End a job, as the cluster does."""
    if job["state"] == "RUNNING":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job["pid"], number)
    if job["state"] in ("RUNNING", "PENDING"):
        job["state"] = state


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _advance(jobs: list[Job], directory: Path) -> None:
    """Note what has ended, end what has had its time, and start what there is room for."""
    minute = float(os.environ.get("FAKE_SLURM_MINUTE", "60"))
    for job in jobs:
        if job["state"] != "RUNNING":
            continue
        if not is_running(job["pid"]):
            code = directory / f"{job['raw']}.code"
            job["state"] = "COMPLETED" if code.exists() and code.read_text().strip() == "0" else "FAILED"
        elif job["minutes"] and time.monotonic() - job["begin"] > minute * job["minutes"]:
            end(job, "TIMEOUT", signal.SIGKILL)
    room = int(os.environ.get("FAKE_SLURM_CORES", "64")) - sum(job["state"] == "RUNNING" for job in jobs)
    for job in jobs:
        if job["state"] == "PENDING" and room > 0:
            room -= 1
            _start(job, directory)


def _start(job: Job, directory: Path) -> None:
    own = {"SLURM_JOB_ID": str(job["raw"])}
    if job["task"] is not None:
        own |= {"SLURM_ARRAY_JOB_ID": str(job["array"]), "SLURM_ARRAY_TASK_ID": str(job["task"])}
    code = directory / f"{job['raw']}.code"
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'bash "{job["script"]}"; echo $? > "{code}"'],
        env={**os.environ, **own},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    job |= {"state": "RUNNING", "reason": "None", "pid": process.pid, "begin": time.monotonic()}


def name_of(job: Job) -> str:
    """A job's name as squeue --array lists it."""
    return f"{job['array']}_{job['task']}" if job["task"] is not None else str(job["raw"])


def sbatch(arguments: list[str], directory: Path) -> int:
    path = Path(arguments[-1])
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", path.read_text(), re.MULTILINE))
    if options.get("partition") == "nowhere":
        print("sbatch: error: invalid partition specified: nowhere", file=sys.stderr)
        return 1
    last = re.match(r"0-(\d+)", options.get("array", ""))
    script = directory / f"{path.name}.{os.getpid()}"
    script.write_text(path.read_text())
    with opened(directory) as jobs:
        first = max((job["raw"] for job in jobs), default=0) + 1
        for task in range(int(last[1]) + 1) if last else [None]:
            jobs.append(
                {
                    "array": first,
                    "task": task,
                    "raw": first + (task or 0),
                    "name": options["job-name"],
                    "script": str(script),
                    "minutes": int(options.get("time", "0")),
                    "options": options,
                    "state": "PENDING",
                    "reason": "Resources",
                    "pid": None,
                    "begin": None,
                }
            )
    print(f"Submitted batch job {first}")
    return 0


def squeue(arguments: list[str], directory: Path) -> int:
    given = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)
    assert given["format"] == "%i|%T|%r"
    if (directory / "down").exists():
        print("squeue: error: Unable to contact slurm controller", file=sys.stderr)
        return 1
    with opened(directory) as jobs:
        for job in jobs:
            if job["name"] == given["name"] and not job.get("forgotten"):
                print(f"{name_of(job)}|{job['state']}|{job['reason']}")
    return 0


def scancel(arguments: list[str], directory: Path) -> int:
    with opened(directory) as jobs:
        for job in jobs:
            if name_of(job) in arguments or f"--name={job['name']}" in arguments:
                end(job, "CANCELLED")
    return 0


def srun(arguments: list[str], directory: Path) -> int:
    streams = {}
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            streams[option] = _filled(arguments.pop(0))
    for option, descriptor in (("--output", 1), ("--error", 2)):
        os.dup2(os.open(streams[option], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), descriptor)
    os.execvp(arguments[0], arguments)


def _filled(path: str) -> str:
    variables = os.environ
    values = {
        "%A": variables.get("SLURM_ARRAY_JOB_ID", ""),
        "%a": variables.get("SLURM_ARRAY_TASK_ID", ""),
        "%j": variables["SLURM_JOB_ID"],
        "%t": "0",
    }
    return re.sub("%[Aajt]", lambda match: values[match[0]], path)


if __name__ == "__main__":
    sys.exit(globals()[sys.argv[1]](sys.argv[2:], Path(os.environ["FAKE_SLURM"])))

"""What tests of the executor ray share."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cluster_tests import WORKER

from pyprof.executors.ray_executor import RayExecutor, Wanted

MARK = "PYPROF_TEST_OF_RAY"


def an_executor(directory: Path, *, resumed: bool = False) -> RayExecutor:
    return RayExecutor(Wanted(), 2, worker=WORKER)


def processes(mark: str) -> list[int]:
    """The processes that a test has started and that run still, whoever their parents are."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for process in (int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()):
        try:
            is_ours = wanted in Path(f"/proc/{process}/environ").read_bytes() or _is_in(process, mark)
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if is_ours and state != "Z":
            found.append(process)
    return found


def _is_in(process: int, directory: str) -> bool:
    """Whether a process works in a directory, which Ray's own do in that of their logs or of the run."""
    return os.readlink(f"/proc/{process}/cwd").startswith(directory)


def none_left(mark: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while processes(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True

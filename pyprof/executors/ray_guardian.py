"""A process that outlives a run, to end a local Ray with it: where a run is killed, Ray's agents would stay for ever.

It is started as ``python ray_guardian.py FOLDER`` and imports nothing but the standard library. When its standard input
ends it kills whatever belongs to the folder, and removes that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "PYPROF_RAY"
_PATIENCE_SECONDS, _PAUSE = 10.0, 0.05
_CLOSE_SECONDS = 4.0


def start(folder: str) -> subprocess.Popen[bytes]:
    """Start the guardian of what has MARK in its environment, with the folder as its value."""
    command = [sys.executable, "-I", "-S", __file__, folder]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def release(guardian: subprocess.Popen[bytes]) -> None:
    """Let the guardian do its work, and wait for that."""
    assert guardian.stdin is not None
    guardian.stdin.close()
    # It goes on by itself where that takes longer.
    with contextlib.suppress(subprocess.TimeoutExpired):
        guardian.wait(_CLOSE_SECONDS)


def belonging(folder: str, but: int) -> list[int]:
    """The processes that have the folder in their environment, or a file of it open, but for one.

    Ray's agents write their titles over a part of their environment, and their logs into the folder.
    """
    mark = f"{MARK}={folder}".encode()
    others = {int(name) for name in os.listdir("/proc") if name.isdecimal()} - {but}
    return [process for process in others if mark in _environment(process) or _has_open(process, folder)]


def _environment(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _has_open(process: int, folder: str) -> bool:
    files = f"/proc/{process}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(files):
            with contextlib.suppress(OSError):
                if os.readlink(f"{files}/{name}").startswith(f"{folder}/"):
                    return True
    return False


def _main() -> None:
    # The run has logs of Ray open itself, and may go on after its Ray.
    (folder,), run = sys.argv[1:], os.getppid()
    while sys.stdin.buffer.read(1024):
        pass
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (left := belonging(folder, run)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_PAUSE)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()

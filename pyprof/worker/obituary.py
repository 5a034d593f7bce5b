"""Why a process that measures has ended: its status and the reason, from its exit code and what it printed last."""

from __future__ import annotations

import os
import signal
from typing import IO

from pyprof.failures import Failure, says_out_of_memory

# Why there is no figure where a process was ended from outside.
KILLED = "the measuring process was killed, as the system does when memory runs out"


def obituary(code: int, printed: IO[bytes]) -> Failure:
    """What to record of a process that ended by itself with a code (the negative number of a signal)."""
    last = last_words(printed)
    said = f": {last}" if last else ""
    if code == -signal.SIGKILL:
        return Failure("oom", KILLED)
    if says_out_of_memory(last):
        return Failure("oom", f"the measuring process ran out of memory{said}")
    if code < 0:
        return Failure("error", f"the measuring process ended by {signal.Signals(-code).name}{said}")
    return Failure("error", f"the measuring process ended with code {code}{said}")


def last_words(printed: IO[bytes]) -> str:
    """The last line that a process printed: of a traceback it is the one that tells."""
    size = printed.seek(0, os.SEEK_END)
    printed.seek(max(0, size - 4096))
    lines = printed.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:300] if lines else ""

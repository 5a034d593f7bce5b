"""Taking turns with another process that measures: its rounds and ours come one after the other, never at once.

Two runs that are measured one after the other meet another state of the machine each; two that take turns meet the
same one. Whoever measures holds the turn, and offers it after each round; a process that ends, in whatever way, holds
nothing any more.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from pyprof.errors import UsageError
from pyprof.failures import said_of_file

# By how much longer something may take where two take turns: the other may need as much time.
SLOWER = 2
# Names the directory through which the processes take turns, for a process that measures.
VARIABLE = "PYPROF_IN_TURN"


class Turns:
    """The turn of this process among those that share a directory; held inside of a `with`.

    Two locks make it fair: who wants the turn is first in line by the one, and has it by the other. So whoever gives
    the turn away and wants it back comes after the one who waits.

    Raises UsageError where the directory cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self._line, self._turn = (
                os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666) for name in ("line", "turn")
            )
        except OSError as error:
            raise UsageError(f"no turns can be taken: {said_of_file(error)}") from error

    @classmethod
    def asked_for(cls) -> Turns | None:
        """Those that the environment names, which what this process starts does not inherit; None where it names none.

        What it starts measures for it while it has the turn.
        """
        directory = os.environ.pop(VARIABLE, None)
        return cls(Path(directory)) if directory else None

    @staticmethod
    def patience() -> int:
        """How many times its own time something may take that this process's children do: `SLOWER` in turn, else 1."""
        return SLOWER if VARIABLE in os.environ else 1

    def offer(self) -> None:
        """Let the one who waits have the turn, and take it again after that; at once where nobody waits."""
        self._leave()
        self._take()

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def _take(self) -> None:
        fcntl.flock(self._line, fcntl.LOCK_EX)
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        fcntl.flock(self._line, fcntl.LOCK_UN)

    def _leave(self) -> None:
        fcntl.flock(self._turn, fcntl.LOCK_UN)

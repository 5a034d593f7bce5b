"""How long the other threads of this process stood runnable without running, which Linux tells for each of them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

# Reading a thread takes about a microsecond; more threads than these are not read, as that would disturb what is timed.
_MOST = 64


class OtherThreads:
    """The run-queue waits of all threads but the one that made this; `root` is where /proc is looked for."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "proc/self/task"
        self._own = str(threading.get_native_id())
        self._descriptors: dict[str, int] = {}
        self._told = False
        self.refresh()

    def refresh(self) -> None:
        """Find threads that have begun or ended since."""
        try:
            names = set(os.listdir(self._folder)) - {self._own}
        except OSError:
            names = set()
            self._told = False
        else:
            self._told = len(names) <= _MOST
        for name in self._descriptors.keys() - names:
            os.close(self._descriptors.pop(name))
        if not self._told:
            return
        for name in names - self._descriptors.keys():
            try:
                path = self._folder / name / "schedstat"
                self._descriptors[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # it has ended meanwhile

    def waited_ns(self) -> int | None:
        """Nanoseconds that all of them have waited so far, together; None where the system doesn't tell."""
        if not self._told:
            return None
        total = 0
        for descriptor in self._descriptors.values():
            try:
                total += int(os.pread(descriptor, 64, 0).split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it has ended, and what it waited is no more counted: see the difference that is taken
        return total

    def close(self) -> None:
        """Close the descriptors."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

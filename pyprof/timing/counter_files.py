"""Small files of /proc and /sys that hold counters, kept open, since opening one costs more than reading it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path


class CounterFiles:
    """Descriptors of files that can be read, and whatever else is to be closed with them."""

    def __init__(self) -> None:
        self._opened = contextlib.ExitStack()

    def open(self, path: Path) -> int | None:
        """A descriptor that stays open; None where the file cannot be read or is empty."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        if not text(descriptor):
            os.close(descriptor)
            return None
        self._opened.callback(os.close, descriptor)
        return descriptor

    def open_all(self, paths: Iterable[Path]) -> list[int]:
        """The descriptors of those that can be read."""
        return [descriptor for path in paths if (descriptor := self.open(path)) is not None]

    def close_too(self, close: Callable[[], None]) -> None:
        """Call this when the files are closed."""
        self._opened.callback(close)

    def close(self) -> None:
        """Close all of them; calling it again does nothing."""
        self._opened.close()


def text(descriptor: int, size: int = 64) -> bytes:
    """What a small file says; nothing where it cannot be read now (a processor that has been switched off)."""
    try:
        return os.pread(descriptor, size, 0).strip()
    except OSError:
        return b""


def number(descriptor: int) -> int | None:
    """The whole number that a small file holds; None where it holds something else."""
    content = text(descriptor)
    return int(content) if content.isdigit() else None

"""What a CUDA device did, by CUPTI's records: with the places that launched it, or as plain stretches of time."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any, Protocol

from pyprof.errors import UsageError
from pyprof.quantity import plural

# What to do where a device's own time cannot be recorded.
INSTEAD = ": measure the latency"


class CuptiLog:
    """A device's work as CUPTI records it. Raises UsageError where there is no CUPTI, or no CUDA part of pyprof."""

    def __init__(self, places: object, clock: object, library: str = "") -> None:
        try:
            self._log = load().WorkLog(places, clock, library=library)
        except RuntimeError as error:
            raise UsageError(str(error)) from error

    def start(self) -> None:
        """Record from now on; raises UsageError where CUPTI cannot be had now."""
        try:
            self._log.start()
        except RuntimeError as error:
            raise UsageError(str(error)) from error

    def pause(self) -> None:
        """Record no more for now; what CUPTI still holds is handed over before."""
        self._log.pause()

    def stop(self) -> None:
        """The same for good: CUPTI has its own clock again when nobody else of this process listens."""
        self._log.stop()

    def read(self) -> dict[str, Any]:
        """The tables ``operations``, ``launches`` and ``nodes``, all ``names`` so far, and what was lost."""
        try:
            recorded: dict[str, Any] = self._log.drain()
        except RuntimeError as error:
            raise UsageError(f"{error}: the device has failed, so start a new process") from error
        return recorded


class Activity(Protocol):
    """Who records what a device does: CUPTI."""

    def recording(self) -> AbstractContextManager[Callable[[], Sequence[tuple[int, int]]]]:
        """Record while it is entered; afterwards what it gave has the begin and the end of each piece of work, in ns.

        Raises UsageError where nothing can be recorded.
        """
        ...


class CuptiActivity:
    """What a device does, by CUPTI, without its layers. One log serves all recordings: making one takes megabytes."""

    def __init__(self, library: str = "") -> None:
        self._library = library
        self._log: CuptiLog | None = None

    @contextmanager
    def recording(self) -> Iterator[Callable[[], Sequence[tuple[int, int]]]]:
        """Record while it is entered: see `Activity`. Raises UsageError where CUPTI cannot be had."""
        try:
            if self._log is None:
                self._log = self._made()
            log = self._log
            log.read()  # what nobody asked for the last time
            log.start()
        except UsageError as error:
            raise UsageError(f"the device's own time cannot be recorded: {error}{INSTEAD}") from error
        try:
            yield lambda: _stretches(log.read())
        finally:
            log.pause()

    def _made(self) -> CuptiLog:
        from pyprof import _native

        return CuptiLog(_native.Recorder(spans=1).places(), _native.clock(), self._library)


def _stretches(recorded: dict[str, Any]) -> list[tuple[int, int]]:
    if recorded["lost"]:
        raise UsageError(
            f"{plural(recorded['lost'], 'record')} of the device's work found no room, so that its own time is not "
            "known: measure the latency"
        )
    return [(int(row["begin"]), int(row["end"])) for row in recorded["operations"]]


def union_ns(intervals: Iterable[tuple[int, int]]) -> int:
    """For how long any of the intervals lasts: work on several streams at once counts once."""
    busy, until = 0, 0
    for begin, end in sorted(intervals):
        busy += max(0, end - max(begin, until))
        until = max(until, end)
    return busy


def load() -> ModuleType:
    """The CUDA part of pyprof; raises UsageError where it was not built."""
    try:
        return importlib.import_module("pyprof._cuda")
    except ImportError as error:
        raise UsageError(
            f"layer times on a GPU need the CUDA part of pyprof, which cannot be loaded ({error}): "
            "install pyprof with PYPROF_CUDA=1 and the CUDA toolkit at CUDA_HOME"
        ) from error

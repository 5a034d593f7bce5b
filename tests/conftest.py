"""What tests of several rooms share."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable, Iterable

import pytest

from pyprof.timing.clock import HostStopwatch

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has put this into the background of a script, and what tests start would ignore Ctrl-C like it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Each test draws the same numbers in every run, so that none fails by chance; torch alone where it is loaded."""
    random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)


class WorkClock:
    """A clock that moves only by the work that is done, and a list of who did it."""

    def __init__(self) -> None:
        self.now = 1_000
        self.calls: list[str] = []

    def now_ns(self) -> int:
        return self.now

    def work(self, name: str, nanoseconds: int) -> Callable[[], None]:
        """A function whose calls take so long, and are noted under the name."""

        def call() -> None:
            self.calls.append(name)
            self.now += nanoseconds

        return call


@pytest.fixture
def work_clock() -> WorkClock:
    return WorkClock()


@pytest.fixture
def work_stopwatch(work_clock) -> HostStopwatch:
    return HostStopwatch(work_clock)


class FakeClock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000

    def now_ns(self) -> int:
        return self.now

    def work(self, durations: Iterable[int]) -> Callable[[], None]:
        """A function whose calls take these nanoseconds, one after the other; the last one for ever."""
        durations = iter(durations)
        last = 0

        def call() -> None:
            nonlocal last
            last = next(durations, last)
            self.now += last

        return call


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()

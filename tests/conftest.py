"""What tests of several rooms share."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pyprof.timing.clock import HostStopwatch

# Workers share the cores: threads that wait for each other take ten times as long where there are more than cores.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // WORKERS)))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has put this into the background of a script, and what tests start would ignore Ctrl-C like it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A worker takes a whole file, whose fixtures are made once; but one example at a time, each of which is long."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return nodeid if file == "tests/test_examples.py" else file

    return Scheduling(config, log)


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

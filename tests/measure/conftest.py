from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest


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

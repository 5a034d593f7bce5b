"""Calls of known length, to hold a measurement against the truth. Loads torch, which the native part is linked with."""

from __future__ import annotations

import time

import torch  # noqa: F401 - its libraries have to be there before the native part is loaded

from pyprof._native import Spin, work
from pyprof.errors import UsageError

__all__ = ["Spin", "Work", "work_rounds"]

# Calibrating takes at least this long, against which the clock's resolution is nothing.
_CALIBRATION_NS = 20_000_000


class Work:
    """A call of a fixed amount of arithmetic, `rounds` times a quarter of a microsecond or so.

    How long it takes is up to the machine, as it is for a model's step, but always in proportion to the rounds: of two
    that run beside each other, one of 2 % more rounds is slower by 2 %.
    """

    def __init__(self, rounds: int) -> None:
        if rounds < 1:
            raise UsageError(f"planted work has at least one round, not {rounds}: ask for more seconds")
        self.rounds = rounds

    def __call__(self) -> None:
        work(self.rounds)


def work_rounds(seconds: float) -> int:
    """How many rounds of `Work` take about that many seconds on this machine, at its present speed."""

    def timed(rounds: int) -> int:
        begin = time.perf_counter_ns()
        work(rounds)
        return time.perf_counter_ns() - begin

    rounds = 2
    while (taken := timed(rounds)) < _CALIBRATION_NS:
        rounds *= 2
    # Whatever else ran meanwhile only made it longer.
    taken = min(taken, *(timed(rounds) for _ in range(2)))
    return max(1, round(seconds * 1e9 * rounds / taken))

"""A machine whose speed flips by 1.45 for seconds at a time, and the records that runs of a study on it would give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds

CURVES, STEP_SECONDS = 10, (0.1, 0.2, 0.4, 0.8, 1.6)
LENGTHS = tuple(128 * (index + 1) for index in range(len(STEP_SECONDS)))
TOGETHER, YARDSTICK_SECONDS = 5, 0.015
SLOWER = math.log(1.45)


class Machine:
    """One whose states last 2 to 30 s, or one that is always fast."""

    def __init__(self, random: np.random.Generator, flips: bool = True) -> None:
        self.random, self.flips = random, flips
        self.ends = np.cumsum(random.uniform(2, 30, 400))
        self.first = int(random.integers(2))

    def slowness(self, begins: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """The mean logarithm of how much longer work takes that begins then and lasts so long."""
        if not self.flips:
            return np.zeros(len(begins))
        moments = begins + np.linspace(0, seconds, 8)
        return SLOWER * np.mean((np.searchsorted(self.ends, moments) + self.first) % 2, axis=0)


def run(
    machine: Machine,
    slopes: np.ndarray,
    factor: Callable[[str, int], float] = lambda model, length: 1.0,
    *,
    rounds: int = 6,
    yardstick: bool = True,
) -> dict[str, Record]:
    """50 cases: ten models at five lengths, five of a length at a time interleaved with a yardstick.

    A step follows the machine with its slope, has 1 % of noise in each sample, and 0.5 % that stays within the run.
    """
    records = list(_records(machine, slopes, factor, rounds, yardstick))
    return {record.case.key: record for record in records}


def _records(
    machine: Machine, slopes: np.ndarray, factor: Callable[[str, int], float], rounds: int, yardstick: bool
) -> Iterator[Record]:
    random, now = machine.random, 0.0
    for first in range(0, CURVES, TOGETHER):
        members = list(range(first, first + TOGETHER))
        for number, (length, seconds) in enumerate(zip(LENGTHS, STEP_SECONDS, strict=True)):
            order = np.concatenate([random.permutation(TOGETHER + 1) for _ in range(rounds)])
            lasts = np.where(order == TOGETHER, YARDSTICK_SECONDS, seconds)
            begins = now + np.cumsum(lasts) - lasts
            now = begins[-1] + lasts[-1]
            truth = [seconds * factor(f"m{one}", length) * math.exp(random.normal(0, 0.005)) for one in members]
            slope = np.append(slopes[members, number], 1.0)[order]
            noise = np.abs(random.normal(0, 0.01, len(order)))
            times = np.append(truth, YARDSTICK_SECONDS)[order] * np.exp(slope * machine.slowness(begins, lasts) + noise)
            readings = list(times[order == TOGETHER]) if yardstick else None
            for place, one in enumerate(members):
                yield _record(one, length, list(times[order == place]), readings, f"{first} {length}")


def _record(model: int, length: int, times: list[float], readings: list[float] | None, rounds: str) -> Record:
    samples = tuple(round(value * 1e9) for value in times)
    beside = () if readings is None else tuple(round(value * 1e9) for value in readings)
    latency = Reading(float(np.median(times)), min(times), max(times), samples, rounds=Rounds(rounds, yardstick=beside))
    return Record(Case(f"m{model}", length), "ok", "0", "2026-01-01T00:00:00Z", 1.0, None, {"latency": latency})

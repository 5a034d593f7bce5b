"""The records that runs of a study would give on a machine whose speed flips by 1.45 for seconds at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from flipping_speed import FlippingSpeed

from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds

CURVES, STEP_SECONDS = 10, (0.1, 0.2, 0.4, 0.8, 1.6)
LENGTHS = tuple(128 * (index + 1) for index in range(len(STEP_SECONDS)))
TOGETHER, YARDSTICK_SECONDS = 5, 0.015
SLOWER = 1.45


def run(
    random: np.random.Generator,
    slopes: np.ndarray,
    factor: Callable[[str, int], float] = lambda model, length: 1.0,
    *,
    flips: bool = True,
    rounds: int = 6,
    yardstick: bool = True,
) -> dict[str, Record]:
    """50 cases: ten models at five lengths, five of a length at a time interleaved with a yardstick.

    A step follows the machine with its slope, has 1 % of noise in each sample, and 0.5 % that stays within the run.
    Without `flips` the machine is always fast.
    """
    speed = FlippingSpeed(random, SLOWER)
    records = list(_records(random, speed if flips else None, slopes, factor, rounds, yardstick))
    return {record.case.key: record for record in records}


def _slowness(speed: FlippingSpeed | None, begins: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The mean logarithm of how much longer work takes that begins then and lasts so long."""
    if speed is None:
        return np.zeros(len(begins))
    moments = begins + np.linspace(0, seconds, 8)
    return math.log(speed.slower) * np.mean(speed.is_slow(moments), axis=0)


def _records(
    random: np.random.Generator,
    speed: FlippingSpeed | None,
    slopes: np.ndarray,
    factor: Callable[[str, int], float],
    rounds: int,
    yardstick: bool,
) -> Iterator[Record]:
    now = 0.0
    for first in range(0, CURVES, TOGETHER):
        members = list(range(first, first + TOGETHER))
        for number, (length, seconds) in enumerate(zip(LENGTHS, STEP_SECONDS, strict=True)):
            order = np.concatenate([random.permutation(TOGETHER + 1) for _ in range(rounds)])
            lasts = np.where(order == TOGETHER, YARDSTICK_SECONDS, seconds)
            begins = now + np.cumsum(lasts) - lasts
            now = begins[-1] + lasts[-1]
            truth = [seconds * factor(f"m{model}", length) * math.exp(random.normal(0, 0.005)) for model in members]
            slope = np.append(slopes[members, number], 1.0)[order]
            noise = np.abs(random.normal(0, 0.01, len(order)))
            times = np.append(truth, YARDSTICK_SECONDS)[order] * np.exp(slope * _slowness(speed, begins, lasts) + noise)
            readings = list(times[order == TOGETHER]) if yardstick else None
            for place, model in enumerate(members):
                yield _record(model, length, list(times[order == place]), readings, f"{first} {length}")


def _record(model: int, length: int, times: list[float], readings: list[float] | None, rounds: str) -> Record:
    samples = tuple(round(value * 1e9) for value in times)
    beside = () if readings is None else tuple(round(value * 1e9) for value in readings)
    latency = Reading(float(np.median(times)), min(times), max(times), samples, rounds=Rounds(rounds, yardstick=beside))
    return Record(Case(f"m{model}", length), "ok", "0", "2026-01-01T00:00:00Z", 1.0, None, {"latency": latency})

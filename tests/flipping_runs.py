"""The records that runs of a study would give on a machine whose speed flips by 1.45 for seconds at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

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


def runs_in_turn(
    random: np.random.Generator,
    slopes: np.ndarray,
    factor: Callable[[str, int], float] = lambda model, length: 1.0,
    *,
    rounds: int = 6,
) -> tuple[dict[str, Record], dict[str, Record]]:
    """Two runs of the same cases that take turns, round by round, the second with the factor."""
    speed = FlippingSpeed(random, SLOWER)
    both: tuple[dict[str, Record], dict[str, Record]] = ({}, {})
    now = 0.0
    for first, members, number, length, seconds in _groups():
        lasts = np.append(np.full(TOGETHER, seconds), YARDSTICK_SECONDS)
        truths = [_truth(random, members, length, seconds, each) for each in (lambda model, length: 1.0, factor)]
        slope = np.append(slopes[members, number], 1.0)
        times = np.empty((2, rounds, TOGETHER + 1))
        ended = np.empty((2, rounds))
        for place in range(rounds):
            for side in (0, 1):
                order = random.permutation(TOGETHER + 1)
                begins = np.empty(TOGETHER + 1)
                begins[order] = now + np.cumsum(lasts[order]) - lasts[order]
                noise = np.abs(random.normal(0, 0.01, TOGETHER + 1))
                slowness = slope * _slowness(speed, begins, lasts)
                times[side, place] = np.append(truths[side], YARDSTICK_SECONDS) * np.exp(slowness + noise)
                now += lasts.sum()
                ended[side, place] = now
        for side, records in enumerate(both):
            beside = list(times[side, :, TOGETHER])
            for column, model in enumerate(members):
                taken = list(times[side, :, column])
                record = _record(model, length, taken, beside, f"{first} {length} {side}", ended[side])
                records[record.case.key] = record
    return both


def _groups() -> Iterator[tuple[int, list[int], int, int, float]]:
    """The first model, the models, and the number, length and seconds of a step of each group, in their order."""
    for first in range(0, CURVES, TOGETHER):
        for number, (length, seconds) in enumerate(zip(LENGTHS, STEP_SECONDS, strict=True)):
            yield first, list(range(first, first + TOGETHER)), number, length, seconds


def _truth(
    random: np.random.Generator,
    members: list[int],
    length: int,
    seconds: float,
    factor: Callable[[str, int], float],
) -> list[float]:
    return [seconds * factor(f"m{model}", length) * math.exp(random.normal(0, 0.005)) for model in members]


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
    for first, members, number, length, seconds in _groups():
        order = np.concatenate([random.permutation(TOGETHER + 1) for _ in range(rounds)])
        lasts = np.where(order == TOGETHER, YARDSTICK_SECONDS, seconds)
        begins = now + np.cumsum(lasts) - lasts
        now = begins[-1] + lasts[-1]
        truth = _truth(random, members, length, seconds, factor)
        slope = np.append(slopes[members, number], 1.0)[order]
        noise = np.abs(random.normal(0, 0.01, len(order)))
        times = np.append(truth, YARDSTICK_SECONDS)[order] * np.exp(slope * _slowness(speed, begins, lasts) + noise)
        readings = list(times[order == TOGETHER]) if yardstick else None
        for place, model in enumerate(members):
            yield _record(model, length, list(times[order == place]), readings, f"{first} {length}")


def _record(
    model: int,
    length: int,
    times: list[float],
    readings: list[float] | None,
    rounds: str,
    ended: Sequence[float] = (),
) -> Record:
    samples = tuple(round(value * 1e9) for value in times)
    beside = () if readings is None else tuple(round(value * 1e9) for value in readings)
    taken = Rounds(rounds, yardstick=beside, ended=tuple(round(moment * 1e9) for moment in ended))
    latency = Reading(float(np.median(times)), min(times), max(times), samples, rounds=taken)
    return Record(Case(f"m{model}", length), "ok", "0", "2026-01-01T00:00:00Z", 1.0, None, {"latency": latency})

"""The records that runs would give on two cores of which a neighbour takes one: every barrier waits for a slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pyprof.records.case import Case
from pyprof.records.noise import HIT_SHARE, Hit, Noise
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds

# A step's parallel regions and how long one of them takes, in seconds: alone, 1 ms to 96 ms a step.
MODELS = {"tiny": (60, 15e-6), "deep": (1200, 20e-6), "base": (300, 200e-6), "wide": (80, 250e-6)}
LENGTHS = (64, 128, 256)
YARDSTICK_SECONDS = 0.006
# A thread whose core is taken waits for what is left of the neighbour's slice, in seconds.
SLICE = (1e-3, 3e-3)


def never(seconds: float) -> float:
    return 0.0


def always(seconds: float) -> float:
    return 1.0


@dataclass(frozen=True)
class Bursts:
    """A neighbour that is busy for some seconds and idle for some, from a moment of its own on."""

    busy: float
    idle: float
    begin: float

    def __call__(self, seconds: float) -> float:
        return float((seconds + self.begin) % (self.busy + self.idle) < self.busy)


@dataclass(frozen=True)
class Trickle:
    """One that takes the core in so small a part of the regions, all the time."""

    share: float

    def __call__(self, seconds: float) -> float:
        return self.share


# The share of the regions in which a neighbour has the core at a moment.
Neighbour = Callable[[float], float]


@dataclass
class Machine:
    """Two cores and a neighbour; `knows` is what its system tells: all waits, marks as older runs have, or nothing."""

    random: np.random.Generator
    neighbour: Neighbour = never
    knows: str = "waits"
    now: float = 0.0
    # How much longer everything takes during the whole run, by its logarithm, and steps beside that.
    state: tuple[float, float] = (0.0, 0.0)

    def takes(self, regions: int, region: float) -> tuple[float, float, float]:
        """How long that many regions take from now on, and what the own and the other thread wait in it."""
        seconds, own, others = 0.0, 0.0, 0.0
        # The neighbour is looked at anew from time to time within a step.
        for part in np.array_split(np.arange(regions), 10 if regions > 10 else 1):
            count = len(part)
            held = self.random.binomial(count, self.neighbour(self.now + seconds))
            # A region longer than a slice is held up by as much as it takes.
            waited = float(np.maximum(self.random.uniform(*SLICE, held), region).sum())
            mine = waited * self.random.uniform(0.4, 0.6)
            own, others = own + mine, others + waited - mine
            seconds += count * region + waited
        noise = seconds * abs(self.random.normal(0, 0.01))
        # Even alone, a thread waits now and then for something short.
        short = seconds * self.random.choice([0.0, 0.004, 0.012], p=[0.6, 0.25, 0.15])
        self.now += seconds + noise + short
        return seconds + noise + short, own, others + short


def run(
    machine: Machine, factor: Callable[[str, int], float] = lambda model, length: 1.0, rounds: int = 20
) -> dict[str, Record]:
    """Four models at three lengths, those of a length in the same rounds with a yardstick."""
    records = (record for length in LENGTHS for record in _together(machine, length, factor, rounds))
    return {record.case.key: record for record in records}


def _together(machine: Machine, length: int, factor: Callable[[str, int], float], rounds: int) -> Iterator[Record]:
    within = {model: machine.random.normal(0, 0.003) for model in MODELS}
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in (*MODELS, "")}
    for _ in range(rounds):
        for name in machine.random.permutation(list(taken)):
            regions, region = MODELS[name] if name else (1, YARDSTICK_SECONDS)
            region *= np.exp(sum(machine.state) if name else machine.state[0])
            if name:
                region *= (length / 64) ** 0.5 * factor(name, length) * np.exp(within[name])
            taken[name].append(machine.takes(regions, region))
    used = float(np.mean([machine.neighbour(moment) for moment in np.linspace(0, machine.now, 50)])) / 2
    for model in MODELS:
        yield _record(Case(model, length), taken[model], taken[""], used, machine.knows)


def _record(
    case: Case,
    taken: list[tuple[float, float, float]],
    beside: list[tuple[float, float, float]],
    used: float,
    knows: str,
) -> Record:
    def ns(values: list[float]) -> tuple[int, ...]:
        return tuple(round(1e9 * value) for value in values)

    seconds = [each[0] for each in taken]
    known = {}
    if knows in ("waits", "marks"):
        hits = [max(own, others) > HIT_SHARE * second for second, own, others in taken]
        known |= {"waits": ns([own for _, own, _ in taken]), "hits": tuple(Hit.PREEMPTED * hit for hit in hits)}
        known |= {"noise": Noise(sum(seconds), len(seconds), others_share=used)}
    if knows == "waits":
        known |= {"others_waits": ns([others for *_, others in taken])}
        known |= {"yardstick_waits": ns([own for _, own, _ in beside])}
        known |= {"yardstick_others_waits": ns([others for *_, others in beside])}
    rounds = Rounds(str(case.length), yardstick=ns([each[0] for each in beside]), **known)
    samples = ns(seconds)
    latency = Reading(float(np.median(samples)) * 1e-9, samples=samples, rounds=rounds)
    return Record(case, "ok", "0", "2026-01-01T00:00:00Z", 1.0, None, {"latency": latency})

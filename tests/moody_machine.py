"""A simulated machine whose speed drifts and flips between two states, as a neighbour on the same core makes it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

from simulated_machine import Simulated

from pyprof.records.case import Case
from pyprof.records.executor import Outcome
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.statistics.estimate import estimate_median

# How long a state lasts, in seconds, and how much slower the slow one is: as measured on two shared processors.
STATES = (2.0, 30.0)
SLOW = 1.5
DRIFT = 0.05
NOISE = 0.005


class Moody(Simulated):
    """With `interleaved` the cases of a group are timed in the same rounds, without it one after the other."""

    def __init__(self, steps: Callable[[Case], float], seed: int, *, interleaved: bool) -> None:
        super().__init__(steps)
        self.interleaved = interleaved
        self._state = random.Random(seed)
        self._slow, self._flip = False, 0.0
        self._phase = self._state.random()

    def call(self, case: Case) -> int:
        """The nanoseconds of one step at this moment; each step is slowed by the machine while it lasts."""
        left = self.steps(case) * math.exp(self._state.gauss(0.0, NOISE))
        begin = self.now
        while left > 1e-12:
            if self.now >= self._flip:
                self._slow = not self._slow
                self._flip = self.now + self._state.uniform(*STATES)
            slowness = (SLOW if self._slow else 1.0) * (
                1 + DRIFT * math.sin(2 * math.pi * (self.now / 600 + self._phase))
            )
            stretch = min(left * slowness, self._flip - self.now)
            self.now += stretch
            left -= stretch / slowness
        return round((self.now - begin) * 1e9)

    def measure_together(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        for together in [cases] if self.interleaved else [[case] for case in cases]:
            self.groups.append(tuple(together))
            samples: dict[Case, list[int]] = {case: [] for case in together}
            for case in together:
                self.call(case)
            for _ in range(self.samples):
                for case in self._state.sample(list(together), len(together)):
                    samples[case].append(self.call(case))
            yield from (self._outcome(case, taken) for case, taken in samples.items())

    def _outcome(self, case: Case, samples: list[int]) -> Outcome:
        found = estimate_median([sample * 1e-9 for sample in samples])
        rounds = Rounds(str(len(self.groups)))
        latency = Reading(found.value, found.low, found.high, tuple(samples), rounds=rounds)
        seconds = sum(samples) * 1e-9
        return Outcome(Record(case, "ok", "simulated", "now", seconds, indicators={"latency": latency}))

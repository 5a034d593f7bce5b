"""An executor on a simulated machine whose speed drifts and flips, and which measures every step by itself."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from flipping_speed import FlippingSpeed
from simulated_machine import Simulated

from pyprof.records.case import Case
from pyprof.records.executor import Outcome
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.statistics.estimate import estimate_median

# How much slower the slow state is, as measured on two shared processors.
SLOWER = 1.5
DRIFT = 0.05
NOISE = 0.005


class FlippingExecutor(Simulated):
    """With `interleaved` the cases of a group are timed in the same rounds, without it one after the other."""

    def __init__(self, steps: Callable[[Case], float], seed: int, *, interleaved: bool) -> None:
        super().__init__(steps)
        self.interleaved = interleaved
        self._speed = FlippingSpeed(np.random.default_rng(seed), SLOWER)
        self._random = random.Random(seed)
        self._phase = self._random.random()

    def call(self, case: Case) -> int:
        """The nanoseconds of one step at this moment; each step is slowed by the machine while it lasts."""
        left = self.steps(case) * math.exp(self._random.gauss(0.0, NOISE))
        begin = self.now
        while left > 1e-12:
            drift = 1 + DRIFT * math.sin(2 * math.pi * (self.now / 600 + self._phase))
            slowness = drift * (self._speed.slower if self._speed.is_slow(self.now) else 1.0)
            stretch = min(left * slowness, self._speed.next_flip(self.now) - self.now)
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
                for case in self._random.sample(list(together), len(together)):
                    samples[case].append(self.call(case))
            yield from (self._outcome(case, taken) for case, taken in samples.items())

    def _outcome(self, case: Case, samples: list[int]) -> Outcome:
        median = estimate_median([sample * 1e-9 for sample in samples])
        rounds = Rounds(str(len(self.groups)))
        latency = Reading(median.value, median.low, median.high, tuple(samples), rounds=rounds)
        seconds = sum(samples) * 1e-9
        return Outcome(Record(case, "ok", "simulated", "now", seconds, indicators={"latency": latency}))

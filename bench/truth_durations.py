"""Planted durations: how far a median is off, and how often its interval covers the truth."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import numpy.typing as npt
from harness import Bar, Figures, note

import pyprof
from pyprof.timing.planted import Spin

METHOD = """\
planted: a native spin of a length from 20 us to 50 ms (uniform in its logarithm) is measured by pyprof.measure with its
defaults; it notes the true length of every call by the same clock. The truth is the median of the true lengths of the
sampled calls, of their means where several calls make one sample. In the second kind each call's length is drawn
afresh from a lognormal distribution (sigma 5 %), and the truth is the median of the population: of 50,000 fresh draws,
each lengthened by what the machine had added to a sampled call (the spin's last turn, a pause). Pauses depend on the
lengths, so runs in which over 5 % of the calls were lengthened by over 1 % are not judged so; their number is shown.
"""
Floats = npt.NDArray[np.float64]
SHORTEST, LONGEST = 20e-6, 50e-3
SIGMA = 0.05
# Lengths that a spin takes in turn, and samples that are simulated for the median of their population.
DRAWS, SIMULATED = 8192, 50_000
BOUND = 0.005
# A call that the machine has lengthened by more than this is disturbed; a run with more such calls is not judged by
# what was drawn.
ADDED, DISTURBED = 0.01, 0.05
DECADES = ((20e-6, 100e-6), (100e-6, 1e-3), (1e-3, 10e-3), (10e-3, 50e-3))
FIXED, DRAWN = "one length", "lengths drawn"
COLUMNS = (
    "lengths, us",
    "runs",
    "judged",
    "error, %",
    "worst, %",
    "within 0.5 %, %",
    "covered, %",
    "half width, %",
    "samples",
    "s a run",
)


@dataclass(frozen=True)
class Found:
    """One measurement of a planted duration, in seconds, and what it should have been."""

    kind: str
    planted: float
    truth: float
    value: float
    low: float
    high: float
    samples: int
    took: float
    disturbed: float

    @property
    def error(self) -> float:
        return self.value / self.truth - 1

    @property
    def judged(self) -> bool:
        return self.kind == FIXED or self.disturbed <= DISTURBED

    @property
    def covered(self) -> bool:
        return self.low <= self.truth <= self.high


# The true median, in seconds, from the sampled calls' true lengths, what the machine added to each, and the repeats.
Truth = Callable[[Floats, Floats, int], float]


def one_length(seconds: float, rng: random.Random) -> Found:
    def truth(lengths: Floats, added: Floats, repeats: int) -> float:
        return float(np.median(_batches(lengths, repeats)))

    return _measure(FIXED, seconds, [seconds], truth)


def lengths_drawn(seconds: float, rng: random.Random) -> Found:
    def truth(lengths: Floats, added: Floats, repeats: int) -> float:
        draws = np.random.default_rng(rng.randrange(2**31))
        planted = seconds * draws.lognormal(0.0, SIGMA, (SIMULATED, repeats)).mean(axis=1)
        return float(np.median(planted + draws.choice(_batches(added, repeats), SIMULATED)))

    return _measure(DRAWN, seconds, [seconds * math.exp(rng.gauss(0, SIGMA)) for _ in range(DRAWS)], truth)


def _measure(kind: str, seconds: float, wanted: Sequence[float], truth: Truth) -> Found:
    spin = Spin(*wanted)
    begin = time.monotonic()
    found = pyprof.measure(spin)
    took = time.monotonic() - begin
    low, high = found.interval or (0.0, 2 * found.median)  # too few samples for one say next to nothing
    # The sampled calls are the last ones: those before are the warm-up's.
    every = np.array(spin.lengths_ns) * 1e-9
    sampled = len(found.samples) * found.repeats
    lengths, added = every[-sampled:], (every - np.resize(wanted, every.size))[-sampled:]
    true = truth(lengths, added, found.repeats)
    disturbed = float(np.mean(added > ADDED * seconds))
    return Found(kind, seconds, true, found.median, low, high, len(found.samples), took, disturbed)


def _batches(values: Floats, repeats: int) -> Floats:
    means: Floats = values.reshape(-1, repeats).mean(axis=1)
    return means


@dataclass
class Planted:
    count: int
    seed: int
    found: list[Found] = field(default_factory=list)

    def run(self) -> None:
        rng = random.Random(f"planted {self.seed}")
        for index in range(self.count):
            seconds = SHORTEST * (LONGEST / SHORTEST) ** rng.random()
            for way in (one_length, lengths_drawn):
                one = way(seconds, rng)
                self.found.append(one)
                note(
                    f"planted {index + 1}/{self.count}, {one.kind}: {seconds * 1e6:.0f} us, off by {one.error:+.3%}, "
                    f"{'covered' if one.covered else 'NOT covered'} ({one.low / one.truth - 1:+.3%} to "
                    f"{one.high / one.truth - 1:+.3%}), {one.samples} samples in {one.took:.2f} s"
                    f"{'' if one.judged else f', not judged: {one.disturbed:.0%} of the calls disturbed'}"
                )

    def figures(self) -> list[Figures]:
        return [Figures(f"planted, {kind} (medians of the runs)", COLUMNS, self._rows(kind)) for kind in (FIXED, DRAWN)]

    def _rows(self, kind: str) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for low, high in (*DECADES, (SHORTEST, LONGEST)):
            some = [one for one in self.found if one.kind == kind and low <= one.planted <= high]
            judged = [one for one in some if one.judged]
            if judged:
                rows.append((f"{low * 1e6:,.0f} to {high * 1e6:,.0f}", len(some), *_summary(judged)))
        return rows

    def bars(self) -> list[Bar]:
        fixed = [one for one in self.found if one.kind == FIXED]
        bars = []
        if fixed:
            bars.append(Bar("planted: medians within 0.5 % of the true one", _share_within(fixed), "%", 95, "higher"))
        for kind in (FIXED, DRAWN):
            some = [one for one in self.found if one.kind == kind and one.judged]
            if some:
                bars.append(Bar(f"planted, {kind}: intervals that cover the truth", _covered(some), "%", 95, "higher"))
        return bars


def _summary(found: Sequence[Found]) -> tuple[float, ...]:
    return (
        len(found),
        100 * median(one.error for one in found),
        100 * max(abs(one.error) for one in found),
        _share_within(found),
        _covered(found),
        100 * median((one.high - one.low) / 2 / one.value for one in found),
        median(one.samples for one in found),
        median(one.took for one in found),
    )


def _share_within(found: Sequence[Found]) -> float:
    return 100 * sum(abs(one.error) <= BOUND for one in found) / len(found)


def _covered(found: Sequence[Found]) -> float:
    return 100 * sum(one.covered for one in found) / len(found)

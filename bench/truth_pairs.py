"""Comparisons of which the answer is known: a thing with itself, and with itself made slower."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from harness import Bar, Figures, note
from torch import nn

import pyprof
from pyprof.timing.planted import Work, work_rounds

METHOD = """\
aa: pyprof.compare of a call with itself, half of the times 5 ms of planted arithmetic, half of the times a forward of a
small encoder layer. A difference that is shown is a false alarm.

slower: pyprof.compare of planted arithmetic of about 5 ms with the same of 2 % more rounds, for at most 30 s, and of
1 % more, for at most 60 s. It is found where the verdict is slower; the time is that of the whole call.
"""
Call = Callable[[], object]
STEP_SECONDS = 5e-3
# By how much the second one is slower, the time that a comparison may take, and the share that has to be found.
PLANTED = ((0.02, 30.0, 95), (0.01, 60.0, 80))
COLUMNS = (
    "compared",
    "runs",
    "shown, %",
    "covered, %",
    "ratio, median",
    "half width, %",
    "detectable, %",
    "rounds",
    "seconds",
    "seconds at most",
)


@dataclass(frozen=True)
class Compared:
    """One comparison: what it was of, the true ratio, and what was said."""

    kind: str
    truth: float
    value: float
    low: float
    high: float
    verdict: str
    detectable: float
    pairs: int
    took: float

    @property
    def covered(self) -> bool:
        return self.low <= self.truth <= self.high

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.verdict}, {self.value - 1:+.2%} ({self.low - 1:+.2%} to {self.high - 1:+.2%}), "
            f"{self.pairs} rounds in {self.took:.1f} s"
        )


def compared(kind: str, calls: tuple[Call, Call], truth: float, seconds: float, seed: int) -> Compared:
    begin = time.monotonic()
    found = pyprof.compare(*calls, max_seconds=seconds, seed=seed)
    took = time.monotonic() - begin
    low, high = found.ratio.interval or (0.0, float("inf"))
    detectable = float("inf") if found.detectable is None else found.detectable
    return Compared(kind, truth, found.ratio.value, low, high, found.verdict, detectable, found.pairs, took)


def encoder_layer() -> Callable[[], object]:
    """A forward of some 2 ms on one thread."""
    layer = nn.TransformerEncoderLayer(192, 4, 768, batch_first=True).eval()
    tokens = torch.rand(1, 96, 192)

    def step() -> None:
        with torch.inference_mode():
            layer(tokens)

    return step


@dataclass
class Alike:
    count: int
    seed: int
    seconds: float
    found: list[Compared] = field(default_factory=list)

    def run(self) -> None:
        rng = random.Random(f"aa {self.seed}")
        work, step = Work(work_rounds(STEP_SECONDS)), encoder_layer()
        for index in range(self.count):
            kind, call = (("arithmetic", work), ("encoder layer", step))[index % 2]
            one = compared(f"{kind} with itself", (call, call), 1.0, self.seconds, rng.randrange(2**31))
            self.found.append(one)
            note(f"aa {index + 1}/{self.count}, {one}")

    def figures(self) -> list[Figures]:
        return [Figures("a thing with itself", COLUMNS, _rows(self.found, "no difference shown", wrong=True))]

    def bars(self) -> list[Bar]:
        if not self.found:
            return []
        shown = sum(one.verdict != "no difference shown" for one in self.found)
        return [Bar("A/A: differences shown", 100 * shown / len(self.found), "%", 5)]


@dataclass
class Slower:
    count: int
    seed: int
    found: dict[float, list[Compared]] = field(default_factory=lambda: {slowdown: [] for slowdown, _, _ in PLANTED})

    def run(self) -> None:
        rng = random.Random(f"slower {self.seed}")
        for index in range(self.count):
            for slowdown, seconds, _ in PLANTED:
                rounds = work_rounds(STEP_SECONDS)
                more = round(rounds * (1 + slowdown))
                pair, kind = (Work(rounds), Work(more)), f"{slowdown:.0%} slower"
                one = compared(kind, pair, more / rounds, seconds, rng.randrange(2**31))
                self.found[slowdown].append(one)
                note(f"slower {index + 1}/{self.count}, {one}")

    def figures(self) -> list[Figures]:
        rows = [row for found in self.found.values() for row in _rows(found, "slower")]
        return [Figures("a planted slowdown", COLUMNS, rows)]

    def bars(self) -> list[Bar]:
        bars = []
        for slowdown, seconds, share in PLANTED:
            found = self.found[slowdown]
            if found:
                shown = 100 * sum(one.verdict == "slower" for one in found) / len(found)
                bars.append(Bar(f"{slowdown:.0%} slower: found", shown, "%", share, "higher"))
                bars.append(Bar(f"{slowdown:.0%} slower: longest", max(one.took for one in found), "s", seconds))
        return bars


def _rows(found: Sequence[Compared], verdict: str, wrong: bool = False) -> list[tuple[object, ...]]:
    """One row for each kind; shown is the share of that verdict, or of any other where it would be wrong."""
    rows: list[tuple[object, ...]] = []
    for kind in dict.fromkeys(one.kind for one in found):
        some = [one for one in found if one.kind == kind]
        shown = sum((one.verdict == verdict) != wrong for one in some)
        rows.append(
            (
                kind,
                len(some),
                100 * shown / len(some),
                100 * sum(one.covered for one in some) / len(some),
                median(one.value for one in some),
                _percent((one.high - one.low) / 2 for one in some),
                _percent(one.detectable for one in some),
                median(one.pairs for one in some),
                median(one.took for one in some),
                max(one.took for one in some),
            )
        )
    return rows


def _percent(values: Iterable[float]) -> float | None:
    """The median in percent; None where that is without bound, from rounds too few for an interval."""
    middle = 100 * median(values)
    return middle if math.isfinite(middle) else None

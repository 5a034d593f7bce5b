"""The same measured again and again: the spread of what is reported, and whether two runs of a study agree."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles, stdev

import torch
from harness import Bar, Figures, note
from torch.utils.benchmark import Timer
from truth_pairs import encoder_layer

import pyprof
from pyprof.analysis.curves import Curves
from pyprof.analysis.tipping import Crossing
from pyprof.analysis.tipping_points import TippingPoint, tipping_points
from pyprof.models import registry
from pyprof.records import run_directory
from pyprof.timing.warmup import Warmup
from pyprof.timing.yardstick import Yardstick
from pyprof.worker.profile_model import step_of

METHOD = """\
spread: 20 repetitions, in each of them all tools in random order, 2 s of sampling each: pyprof.measure with one
yardstick for all, calibrated for 10 s before (taken off the time of its samplings), of which both the figure at the
machine's full speed and the plain median are shown; Timer.blocked_autorange of torch.utils.benchmark; and a median as
that of triton.testing.do_bench (calls counted from a first estimate, a tenth of the time to warm up). The spread is the
standard deviation of the figures' logarithms; beside it the distance of their quartiles. All repetitions share one
process, so nothing but the machine differs between them.

quick: two runs of the study quick, one after the other, in two directories. Of each comparison, metric and mode in
which one of the runs found a tipping point, that point has to lie in the other run's interval, in which an open side
is without bound; each direction counts as one case. A run that found it nowhere says that it lies beyond the longest
length that is shown to cost more (its time ended at another length, say); one that found it everywhere, before the
shortest that is shown to cost less. Where the other run tells nothing, nothing is judged. Memory is exact, so latency
is told apart too.
"""
SECONDS = 2.0
WARMUP_SECONDS = 0.2
CALIBRATION_SECONDS = 10.0
OURS, OUR_MEDIAN, TIMER, DO_BENCH = "pyprof, at full speed", "pyprof, median", "torch.utils.benchmark", "do_bench-style"
SPREAD_COLUMNS = ("workload", "figure", "repetitions", "median, ms", "spread, %", "quartiles apart, %", "seconds each")
QUICK_COLUMNS = ("comparison", "metric", "mode", "one run", "its interval", "other run", "its interval", "agree")
Call = Callable[[], object]


def by_pyprof(call: Call, yardstick: Yardstick, seconds: float) -> dict[str, float]:
    found = pyprof.measure(
        call,
        min_seconds=seconds,
        max_seconds=seconds,
        max_samples=1_000_000,
        warmup=Warmup(max_seconds=WARMUP_SECONDS),
        yardstick=yardstick,
    )
    assert found.steady is not None  # a yardstick was given
    return {OURS: found.steady.value, OUR_MEDIAN: found.median}


def by_timer(call: Call) -> dict[str, float]:
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return {TIMER: timer.blocked_autorange(min_run_time=SECONDS).median}


def by_do_bench(call: Call) -> dict[str, float]:
    call()
    estimate = _seconds(call, 5) / 5
    for _ in range(max(1, round(WARMUP_SECONDS / estimate))):
        call()
    times = [_seconds(call) for _ in range(max(1, round(SECONDS / estimate)))]
    return {DO_BENCH: median(times)}


def _seconds(call: Call, repeats: int = 1) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - begin


def bert() -> Call:
    loaded = registry.load("bert", attention="best", mode="infer", longest=64)
    loaded.fit(64)
    return step_of(loaded, 64, 1)


WORKLOADS: dict[str, Callable[[], Call]] = {"encoder layer": encoder_layer, "BERT-base, 64 tokens": bert}


@dataclass
class Spread:
    count: int
    seed: int
    # By workload and figure: what was reported, in seconds, and how long it took.
    found: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)

    def run(self) -> None:
        rng = random.Random(f"spread {self.seed}")
        calls = {name: make() for name, make in WORKLOADS.items()}
        yardstick = Yardstick()
        yardstick.calibrate(CALIBRATION_SECONDS)
        seconds = SECONDS - CALIBRATION_SECONDS / (max(self.count, 10) * len(calls))
        tools: list[Callable[[Call], dict[str, float]]] = [
            partial(by_pyprof, yardstick=yardstick, seconds=seconds),
            by_timer,
            by_do_bench,
        ]
        for index in range(self.count):
            for workload, call in calls.items():
                for tool in rng.sample(tools, len(tools)):
                    begin = time.monotonic()
                    figures = tool(call)
                    took = time.monotonic() - begin
                    for name, value in figures.items():
                        self.found.setdefault((workload, name), []).append((value, took))
                    said = ", ".join(f"{name} {value * 1e3:.3f} ms" for name, value in figures.items())
                    note(f"spread {index + 1}/{self.count}, {workload}: {said} in {took:.1f} s")

    def figures(self) -> list[Figures]:
        rows = []
        for (workload, name), found in sorted(self.found.items()):
            values, times = zip(*found, strict=True)
            if len(values) >= 2:
                logs = [math.log(value) for value in values]
                low, _, high = quantiles(logs, n=4)
                spread = (1e3 * median(values), 100 * stdev(logs), 100 * (high - low))
                rows.append((workload, name, len(values), *spread, median(times)))
        return [Figures("spread from run to run", SPREAD_COLUMNS, rows)]

    def bars(self) -> list[Bar]:
        spreads = {(row[0], row[1]): row[4] for row in self.figures()[0].rows}
        return [
            Bar(
                f"{workload}: spread against that of {peer}",
                spreads[workload, OURS] / spreads[workload, peer],
                "x",
                0.5,
            )
            for workload in WORKLOADS
            for peer in (TIMER, DO_BENCH)
            if (workload, OURS) in spreads and (workload, peer) in spreads
        ]


@dataclass
class Quick:
    directories: Sequence[Path]
    pairs: list[tuple[TippingPoint, TippingPoint]] = field(default_factory=list)

    def run(self) -> None:
        if self.directories:
            self._read(*self.directories)
            return
        with tempfile.TemporaryDirectory() as folder:
            directories = [Path(folder, name) for name in ("one", "two")]
            for directory in directories:
                note(f"pyprof study quick -o {directory} ...")
                command = [sys.executable, "-m", "pyprof", "study", "quick", "-o", str(directory)]
                subprocess.run(command, check=True, stdout=sys.stderr)
            self._read(*directories)

    def _read(self, one: Path, two: Path) -> None:
        found = [_points(directory) for directory in (one, two)]
        self.pairs = [(found[0][key], found[1][key]) for key in found[0] if key in found[1]]
        cases = self.cases()
        told = [span for _, other, _ in cases if (span := _span(other)) is not None]
        note(f"{len(cases)} tipping points; {sum(None in span for span in told)} intervals are open at a side")

    def cases(self) -> list[tuple[TippingPoint, TippingPoint, bool]]:
        """Each tipping point with the other run's, and whether it lies in the other's interval."""
        return [
            (mine, other, _inside(mine.tipping.crossing, span))
            for pair in self.pairs
            for mine, other in (pair, pair[::-1])
            if mine.tipping.crossing is not None and (span := _span(other)) is not None
        ]

    def figures(self) -> list[Figures]:
        rows = []
        for mine, other, agree in self.cases():
            sides = (part for one in (mine, other) for part in _spoken(one))
            one = mine.comparison
            name = f"{one.variant} {one.variant_attention} / {one.vanilla} {one.vanilla_attention}"
            rows.append((name, mine.metric, mine.setting.mode, *sides, "yes" if agree else "NO"))
        return [Figures("tipping points of two runs of quick", QUICK_COLUMNS, rows)]

    def bars(self) -> list[Bar]:
        bars = []
        for headlines, name in ((False, "tipping points"), (True, "those of latency")):
            agreeing = [agree for mine, _, agree in self.cases() if mine.indicator.headline or not headlines]
            if agreeing:
                share = 100 * sum(agreeing) / len(agreeing)
                bars.append(Bar(f"quick: {name} in the other run's interval", share, "%", 90, "higher"))
        return bars


def _points(directory: Path) -> dict[tuple[object, ...], TippingPoint]:
    run = run_directory.read(directory)
    found = tipping_points(Curves.of(run.records.values()), run.resolved.comparisons, run.resolved.indicators)
    return {(point.comparison, point.metric, point.setting): point for point in found}


def _span(point: TippingPoint) -> tuple[int | None, int | None] | None:
    """Between which lengths a run says that the tipping point lies, None for an open side; None where it can't tell."""
    crossing = point.tipping.crossing
    if crossing is not None:
        return crossing.low, crossing.high
    if point.tipping.status == "nowhere":
        return max((one.length for one in point.points if one.low is not None and one.low > 1), default=None), None
    if point.tipping.status == "everywhere":
        return None, min((one.length for one in point.points if one.high is not None and one.high < 1), default=None)
    return None


def _inside(crossing: Crossing, span: tuple[int | None, int | None]) -> bool:
    low, high = span
    return (-math.inf if low is None else low) <= crossing.length <= (math.inf if high is None else high)


def _spoken(point: TippingPoint) -> tuple[str, str]:
    crossing, span = point.tipping.crossing, _span(point) or (None, None)
    low, high = ("open" if bound is None else f"{bound:,}" for bound in span)
    return point.tipping.status if crossing is None else f"{crossing.length:,.0f}", f"{low} to {high}"

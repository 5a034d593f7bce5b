"""What can be compared between two runs without any absolute time: tipping points, and ratios to the vanilla model.

A ratio is of two models on one machine, so it is comparable with one from another machine. Whether it changed is judged
as it is for times: with the scatter between runs, by neighbouring lengths, and over all ratios of a metric together. A
tipping point moved where the two intervals that hold it have no length in
common, so that at least one of them would have to be wrong if it had not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from pyprof.analysis.curves import Curves, Setting
from pyprof.analysis.gate.shift import LEVEL, Shift, scatter_of
from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.tipping import Tipping
from pyprof.analysis.tipping_points import TippingPoint, tipping_points
from pyprof.records.comparison import Comparison
from pyprof.records.indicator import IndicatorFacts, OfIndicator
from pyprof.records.record import Record
from pyprof.statistics.multiple import holm
from pyprof.statistics.student import student_quantile

# Degrees of freedom of a change: those of six rounds in each run, the usual number.
FREEDOM = 10.0
# Logarithms of exact ratios that differ by less differ by rounding.
_HAIR = 1e-12

Move = Literal["earlier", "later", "not shown to have moved", "cannot be told"]


@dataclass(frozen=True)
class RatioChange:
    """The ratio to the vanilla model at one length in both runs.

    `change` is the head's ratio over the baseline's with its own 95 % interval; `shown` that it differs from 1, over
    all ratios of the metric together.
    """

    length: int
    baseline: RatioPoint
    head: RatioPoint
    change: float
    low: float | None
    high: float | None
    shown: bool


@dataclass(frozen=True)
class Shape(OfIndicator):
    """One comparison in one metric and setting in both runs: where it tips, and the ratios that say so.

    The setting's environment is left empty. `earlier`: the variant pays off from a shorter length on.
    """

    comparison: Comparison
    indicator: IndicatorFacts
    setting: Setting
    baseline: Tipping
    head: Tipping
    move: Move
    ratios: tuple[RatioChange, ...]


def shapes(
    baseline: Iterable[Record],
    head: Iterable[Record],
    comparisons: Sequence[Comparison],
    indicators: Sequence[IndicatorFacts],
) -> tuple[Shape, ...]:
    """The comparisons that both runs have made, each with its metric and setting, in their order."""
    ours, theirs = (_by_name(tipping_points(Curves.of(each), comparisons, indicators)) for each in (baseline, head))
    pairs = [(ours[name], theirs[name]) for name in ours if name in theirs]
    metrics = dict.fromkeys(before.metric for before, _ in pairs)
    changes = {metric: _ratio_changes([pair for pair in pairs if pair[0].metric == metric]) for metric in metrics}
    return tuple(_shape(before, after, next(changes[before.metric])) for before, after in pairs)


_Name = tuple[Comparison, str, Setting]


def _by_name(points: Iterable[TippingPoint]) -> dict[_Name, TippingPoint]:
    """Where there are several of one name, for two sets of weights, the first; what was not measured is left out."""
    named: dict[_Name, TippingPoint] = {}
    for point in points:
        if point.points:
            named.setdefault((point.comparison, point.metric, replace(point.setting, environment="")), point)
    return named


def _shape(ours: TippingPoint, theirs: TippingPoint, ratios: tuple[RatioChange, ...]) -> Shape:
    blank = replace(ours.setting, environment="")
    return Shape(ours.comparison, ours.indicator, blank, ours.tipping, theirs.tipping, move(ours, theirs), ratios)


_Pair = tuple[RatioPoint, RatioPoint]


def _ratio_changes(pairs: Iterable[tuple[TippingPoint, TippingPoint]]) -> Iterator[tuple[RatioChange, ...]]:
    """The changes of each pair of points in turn, all of one metric."""
    curves = [_common(ours, theirs) for ours, theirs in pairs]
    shifts = [[_shift(*pair) for pair in curve] for curve in curves]
    neighbours = [(a, b) for curve in shifts for a, b in pairwise(curve) if a is not None and b is not None]
    # A ratio is of times in the same rounds, where each is the other's yardstick.
    scatter = scatter_of([pair for pair in neighbours if pair[0].within or pair[1].within], corrected=True).value
    every = [moved for curve in shifts for moved in curve if moved is not None]
    adjusted = iter(holm([_p(moved, scatter) for moved in every]))
    for curve, moves in zip(curves, shifts, strict=True):
        yield tuple(
            _ratio_change(pair, moved, scatter, None if moved is None else next(adjusted))
            for pair, moved in zip(curve, moves, strict=True)
        )


def _common(ours: TippingPoint, theirs: TippingPoint) -> list[_Pair]:
    after = {point.length: point for point in theirs.points}
    return [(point, after[point.length]) for point in ours.points if point.length in after]


def _shift(before: RatioPoint, after: RatioPoint) -> Shift | None:
    """The change of a logarithm, its error by the two intervals; None where one of them is missing."""
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return None
    halves = [math.log(high / low) / 2 for low, high in ((before.low, before.high), (after.low, after.high))]
    within = math.hypot(*halves) / student_quantile(1 - LEVEL / 2, FREEDOM / 2)
    return Shift(math.log(after.ratio / before.ratio), within, FREEDOM)


def _exact(moved: Shift) -> bool:
    return moved.within == 0


def _p(moved: Shift, scatter: float) -> float:
    """The two-sided p value of no change; what is counted either changed or did not."""
    if _exact(moved):
        return float(abs(moved.value) < _HAIR)
    return min(1.0, 2 * min(moved.exceeds(0, scatter), moved.falls_below(0, scatter)))


def _ratio_change(pair: _Pair, moved: Shift | None, scatter: float, p: float | None) -> RatioChange:
    before, after = pair
    change = after.ratio / before.ratio
    if moved is None or p is None:
        return RatioChange(before.length, before, after, change, None, None, False)
    low, high = (change, change) if _exact(moved) else (math.exp(min(bound, 500)) for bound in moved.interval(scatter))
    return RatioChange(before.length, before, after, change, low, high, p < LEVEL)


def move(before: TippingPoint, after: TippingPoint) -> Move:
    """Whether the tipping point of the second lies elsewhere than that of the first, by the intervals of both."""
    ours, theirs = span(before), span(after)
    if ours is None or theirs is None:
        return "cannot be told"
    if theirs[1] < ours[0]:
        return "earlier"
    if ours[1] < theirs[0]:
        return "later"
    return "not shown to have moved"


def span(point: TippingPoint) -> tuple[float, float] | None:
    """The lengths between which the tipping point lies; None where the run cannot tell.

    Where the variant costs less everywhere it lies below the shortest length at which that is shown, where it does
    nowhere beyond the longest length at which it is shown to cost more.
    """
    tipping = point.tipping
    if tipping.crossing is not None:
        low, high = tipping.crossing.low, tipping.crossing.high
        return (0.0 if low is None else low, math.inf if high is None else high)
    if tipping.status == "everywhere":
        cheaper = [ratio.length for ratio in point.points if ratio.high is not None and ratio.high < 1]
        return (0.0, min(cheaper)) if cheaper else None
    if tipping.status == "nowhere" and not tipping.crossings:
        dearer = [ratio.length for ratio in point.points if ratio.low is not None and ratio.low > 1]
        return (max(dearer), math.inf) if dearer else None
    return None

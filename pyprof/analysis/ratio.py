"""The ratio of two costs, with an interval, over length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from pyprof.analysis.curves import Curve
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.statistics.estimate import CONFIDENCE, Samples
from pyprof.statistics.ranks import FEW, signed_rank


@dataclass(frozen=True)
class RatioPoint:
    """What the variant costs in units of what its vanilla model costs, at one length: below 1 the variant costs less.

    `low` and `high` bound the ratio with 95 % confidence; they are None where one of the two costs has no interval,
    and both equal to `ratio` where the costs are counted and so exact. `paired`: both were timed in the same rounds, so
    that the ratio is that of neighbours in time, whatever the machine did meanwhile.
    """

    length: int
    ratio: float
    low: float | None
    high: float | None
    paired: bool = False


class Cost(NamedTuple):
    """The logarithm of a cost and how far its bounds lie below and above: infinitely far where there is no bound.

    `rounds` is the id of the rounds that the `samples` were taken in; of these, what was waited in the run queue is
    left out, since that depends on other processes alone. `confidence` is the level at which a ratio of two in the same
    rounds keeps 95 %: a higher one where intervals were looked at on the way.
    """

    value: float
    below: float
    above: float
    rounds: str | None = None
    samples: tuple[int, ...] = ()
    confidence: float = CONFIDENCE


def costs(curve: Curve, metric: IndicatorFacts) -> dict[int, Cost]:
    """What a curve says of a metric, by length; a length without a positive value is left out."""
    by_length = {}
    for length, record in curve.items():
        reading = record.indicators.get(metric.name)
        cost = None if reading is None else _cost(reading, metric)
        if cost is not None:
            by_length[length] = cost
    return by_length


def ratio_points(variant: Mapping[int, Cost], vanilla: Mapping[int, Cost]) -> tuple[RatioPoint, ...]:
    """The ratios at all lengths where both have a cost, shortest first."""
    return tuple(ratio_of(length, variant[length], vanilla[length]) for length in sorted(variant) if length in vanilla)


def ratio_point(length: int, variant: Reading, vanilla: Reading, metric: IndicatorFacts) -> RatioPoint | None:
    """The ratio of two readings in terms of cost; None where one of them has no positive value.

    Of a metric where higher is better the inverse is the cost. Readings of the same rounds are compared round by round:
    the ratio is the Hodges-Lehmann estimate of the logarithms' difference, with the interval of the signed-rank test.

    Of others the interval is the MOVER interval for a ratio of independent estimates, taken between logarithms: the
    distances of the two estimates from their bounds add in squares, since independent errors rarely are at their worst
    together (Donner and Zou, Statistical Methods in Medical Research 21, 2012). It assumes no symmetry, so it suits the
    distribution-free intervals of medians. Dividing bound by bound comes out 1.2 to 2 times as wide; a bootstrap would
    rest on few distinct medians where a slow step has six samples.
    """
    ours, theirs = _cost(variant, metric), _cost(vanilla, metric)
    return None if ours is None or theirs is None else ratio_of(length, ours, theirs)


def ratio_of(length: int, ours: Cost, theirs: Cost) -> RatioPoint:
    """The ratio of two costs; see ``ratio_point``."""
    if ours.rounds is not None and ours.rounds == theirs.rounds and len(ours.samples) == len(theirs.samples):
        return RatioPoint(length, *_paired(ours.samples, theirs.samples, ours.confidence), paired=True)
    value = ours.value - theirs.value
    below, above = math.hypot(ours.below, theirs.above), math.hypot(ours.above, theirs.below)
    known = math.isfinite(below) and math.isfinite(above)
    low, high = (math.exp(value - below), math.exp(value + above)) if known else (None, None)
    return RatioPoint(length, math.exp(value), low, high)


def widening(looks: int) -> float:
    """By how much a 95 % interval has to grow so that all of `looks` such intervals hold together with 95 %."""
    normal = NormalDist()
    return normal.inv_cdf(1 - 0.025 / max(looks, 1)) / normal.inv_cdf(0.975)


def shown_dearer(point: RatioPoint, looks: int = 1) -> bool:
    """Whether the interval, widened for a number of looks, lies above 1."""
    if point.low is None:
        return False
    middle = math.log(point.ratio)
    return middle - widening(looks) * (middle - math.log(point.low)) > 0


@lru_cache(maxsize=4096)
def _paired(
    ours: tuple[int, ...], theirs: tuple[int, ...], confidence: float
) -> tuple[float, float | None, float | None]:
    """The ratio round by round and its bounds; for few pairs, the usual case, no array is worth its making."""
    logarithms: Samples
    if len(ours) <= FEW:
        logarithms = [math.log(our / their) for our, their in zip(ours, theirs, strict=True)]
    else:
        logarithms = np.log(np.array(ours) / np.array(theirs))
    shift = signed_rank(logarithms, confidence)
    low, high = (None if bound is None else math.exp(bound) for bound in (shift.low, shift.high))
    return math.exp(shift.value), low, high


def _cost(reading: Reading, metric: IndicatorFacts) -> Cost | None:
    if reading.value is None or reading.value <= 0:
        return None
    low, high = reading.low, reading.high
    if metric.exact and low is None and high is None:
        low = high = reading.value
    value = math.log(reading.value)
    below = value - math.log(low) if low is not None and low > 0 else math.inf
    above = math.log(high) - value if high is not None else math.inf
    if metric.better == "higher":
        return Cost(-value, above, below)
    rounds = reading.rounds
    if rounds is None:
        return Cost(value, below, above, samples=reading.samples)
    return Cost(value, below, above, rounds.id, reading.ran, rounds.confidence)

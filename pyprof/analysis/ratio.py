"""The ratio of two costs, with an interval, over length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pyprof.analysis.curves import Curve
from pyprof.cost.indicators import Indicator, Reading

COUNTED_UNITS = ("1", "B")


@dataclass(frozen=True)
class RatioPoint:
    """What the variant costs in units of what its vanilla model costs, at one length: below 1 the variant costs less.

    `low` and `high` bound the ratio with 95 % confidence; they are None where one of the two costs has no interval,
    and both equal to `ratio` where the costs are counted and so exact.
    """

    length: int
    ratio: float
    low: float | None
    high: float | None


class Cost(NamedTuple):
    """The logarithm of a cost and how far its bounds lie below and above: infinitely far where there is no bound."""

    value: float
    below: float
    above: float


def costs(curve: Curve, metric: Indicator) -> dict[int, Cost]:
    """What a curve says of a metric, by length; a length without a positive value is left out."""
    found = {}
    for length, record in curve.items():
        reading = record.indicators.get(metric.name)
        cost = None if reading is None else _cost(reading, metric)
        if cost is not None:
            found[length] = cost
    return found


def ratio_points(variant: Mapping[int, Cost], vanilla: Mapping[int, Cost]) -> tuple[RatioPoint, ...]:
    """The ratios at all lengths where both have a cost, shortest first."""
    return tuple(_ratio(length, variant[length], vanilla[length]) for length in sorted(variant) if length in vanilla)


def ratio_point(length: int, variant: Reading, vanilla: Reading, metric: Indicator) -> RatioPoint | None:
    """The ratio of two readings in terms of cost; None where one of them has no positive value.

    Of a metric where higher is better the inverse is the cost. The interval is the MOVER interval for a ratio of
    independent estimates, taken between logarithms: the distances of the two estimates from their bounds add in
    squares (Donner and Zou, Statistical Methods in Medical Research 21, 2012). It assumes no symmetry, so it suits the
    distribution-free intervals of medians.
    """
    ours, theirs = _cost(variant, metric), _cost(vanilla, metric)
    return None if ours is None or theirs is None else _ratio(length, ours, theirs)


def _ratio(length: int, ours: Cost, theirs: Cost) -> RatioPoint:
    value = ours.value - theirs.value
    below, above = math.hypot(ours.below, theirs.above), math.hypot(ours.above, theirs.below)
    known = math.isfinite(below) and math.isfinite(above)
    low, high = (math.exp(value - below), math.exp(value + above)) if known else (None, None)
    return RatioPoint(length, math.exp(value), low, high)


def _cost(reading: Reading, metric: Indicator) -> Cost | None:
    if reading.value is None or reading.value <= 0:
        return None
    low, high = reading.low, reading.high
    if metric.unit in COUNTED_UNITS and low is None and high is None:
        low = high = reading.value
    value = math.log(reading.value)
    below = value - math.log(low) if low is not None and low > 0 else math.inf
    above = math.log(high) - value if high is not None else math.inf
    if metric.better == "higher":
        return Cost(-value, above, below)
    return Cost(value, below, above)

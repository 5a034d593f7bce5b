"""The ratio of two costs, with an interval, over length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from pyprof.analysis.curves import Curve
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.statistics.ranks import signed_rank

# Up to so many pairs plain numbers are faster than arrays.
_FEW_PAIRS = 20


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
    left out, since that depends on other processes alone.
    """

    value: float
    below: float
    above: float
    rounds: str | None = None
    samples: tuple[int, ...] = ()


def costs(curve: Curve, metric: IndicatorFacts) -> dict[int, Cost]:
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
    return None if ours is None or theirs is None else _ratio(length, ours, theirs)


def _ratio(length: int, ours: Cost, theirs: Cost) -> RatioPoint:
    if ours.rounds is not None and ours.rounds == theirs.rounds and len(ours.samples) == len(theirs.samples):
        return RatioPoint(length, *_paired(ours.samples, theirs.samples), paired=True)
    value = ours.value - theirs.value
    below, above = math.hypot(ours.below, theirs.above), math.hypot(ours.above, theirs.below)
    known = math.isfinite(below) and math.isfinite(above)
    low, high = (math.exp(value - below), math.exp(value + above)) if known else (None, None)
    return RatioPoint(length, math.exp(value), low, high)


@lru_cache(maxsize=4096)
def _paired(ours: tuple[int, ...], theirs: tuple[int, ...]) -> tuple[float, float | None, float | None]:
    """The ratio round by round and its bounds; few pairs, the usual case, are dealt with without any array."""
    if len(ours) > _FEW_PAIRS:
        found = signed_rank(np.log(np.array(ours) / np.array(theirs)))
        low, high = (None if bound is None else math.exp(bound) for bound in (found.low, found.high))
        return math.exp(found.value), low, high
    sums = _sums(math.log(one / other) for one, other in zip(ours, theirs, strict=True))
    middle = math.exp((sums[(len(sums) - 1) // 2] + sums[len(sums) // 2]) / 4)
    places = _places(len(ours))
    if places is None:
        return middle, None, None
    return middle, math.exp(sums[places[0]] / 2), math.exp(sums[places[1]] / 2)


def _sums(values: Iterable[float]) -> list[float]:
    """The sums of all pairs, each value with itself included, in order."""
    return sorted(map(sum, combinations_with_replacement(values, 2)))


@cache
def _places(count: int) -> tuple[int, int] | None:
    """Where the bounds of the signed-rank interval stand among the ordered sums, which the number of pairs decides.

    Powers of two tell, since no two of their sums are equal.
    """
    probe = [2.0**power for power in range(count)]
    found = signed_rank(probe)
    if found.low is None or found.high is None:
        return None
    sums = _sums(probe)
    return sums.index(2 * found.low), sums.index(2 * found.high)


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
    return Cost(value, below, above, None if reading.rounds is None else reading.rounds.id, reading.ran)

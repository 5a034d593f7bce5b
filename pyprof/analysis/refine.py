"""Which lengths to measure: a coarse grid first, then only where the interval of a crossing is still wide."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.tipping import Crossing, find_tipping


def coarse(grid: Sequence[int], count: int = 4, period: int | None = None) -> tuple[int, ...]:
    """At most `count` lengths of the grid, evenly spaced on a logarithmic axis, both ends among them.

    With a `period` the lengths between the ends are taken from those where padding costs most (see needs_refinement).
    """
    ordered = sorted(set(grid))
    if len(ordered) <= count:
        return tuple(ordered)
    allowed = _crests(ordered, period) if period else ordered
    low, high = math.log(ordered[0]), math.log(ordered[-1])
    targets = [math.exp(low + (high - low) * step / (count - 1)) for step in range(1, count - 1)]
    inner = {_nearest(allowed, target) for target in targets}
    return tuple(sorted({ordered[0], ordered[-1], *inner}))


def needs_refinement(
    points: Sequence[RatioPoint],
    grid: Sequence[int],
    tolerance: int = 0,
    period: int | None = None,
) -> int | None:
    """The length of the grid to be measured next in order to narrow a crossing, or None when that is done.

    `points` are the ratios measured so far (the coarse grid at least), shortest first. A gap between two measured
    lengths that holds a crossing, or an end of its interval, is divided at the grid length nearest to where that is
    expected, until it is at most `tolerance` wide (0: until no grid length is left in it), or narrow beside the stretch
    that noise leaves undecided: more lengths do not cure noise, more samples do.

    A variant that pads its input to multiples of `period` costs most, in comparison, just above a multiple, so its
    ratio is a saw and several crossings are likely. Then the crests of the saw are looked at first: the last one that
    is dearer names the tooth where the ratio crosses for the last time, and only this tooth is refined. The end of the
    tooth before it tells whether the variant is cheaper there already, that is, whether it crosses several times.
    """
    ordered = sorted(set(grid))
    if not period:
        return _next(points, ordered, tolerance)
    crests = _crests(ordered, period)
    at_crests = [point for point in points if point.length in set(crests)]
    following = _next(at_crests, crests, 0)
    crossing = find_tipping(at_crests).crossing
    if following is not None or crossing is None:
        return following
    tooth = bisect_right(crests, crossing.length) - 1
    first, beyond = crests[tooth], crests[min(tooth + 1, len(crests) - 1)]
    within = [point for point in points if first <= point.length <= beyond]
    following = _next(within, [length for length in ordered if first <= length <= beyond], tolerance)
    if following is not None:
        return following
    before = ordered.index(first) - 1
    measured = {point.length for point in points}
    return ordered[before] if before >= 0 and ordered[before] not in measured else None


def _next(points: Sequence[RatioPoint], grid: Sequence[int], tolerance: int) -> int | None:
    """The grid length that divides the widest gap at an end of a crossing's interval."""
    gaps = [gap for crossing in find_tipping(points).crossings for gap in _gaps(points, crossing)]
    for gap in sorted(gaps, key=lambda gap: gap.after / gap.before, reverse=True):
        inside = grid[bisect_right(grid, gap.before) : bisect_left(grid, gap.after)]
        if inside and gap.after - gap.before > max(tolerance, gap.undecided):
            return _divide(inside, gap)
    return None


@dataclass(frozen=True)
class _Gap:
    """Two neighbouring measured lengths, what is looked for between them, and how long the stretch of lengths is that
    noise leaves undecided there: a gap that is narrow beside it is not what keeps the interval wide.
    """

    before: int
    after: int
    target: float
    undecided: int


def _gaps(points: Sequence[RatioPoint], crossing: Crossing) -> list[_Gap]:
    """The gaps where a crossing's interval begins and ends, and the one that holds the crossing itself."""
    pairs = list(pairwise(points))
    begin = [pair for pair in pairs if pair[0].length == crossing.low]
    end = [pair for pair in pairs if pair[1].length == crossing.high]
    undecided = end[0][0].length - begin[0][1].length if begin and end else 0
    holding = [pair for pair in pairs if pair[0].length <= crossing.length < pair[1].length]
    chosen = dict.fromkeys(begin + holding + end)
    return [_Gap(a.length, b.length, _target(a, b, crossing), undecided) for a, b in chosen]


def _target(shorter: RatioPoint, longer: RatioPoint, crossing: Crossing) -> float:
    """Where between two points the crossing is expected or, beside an undecided point, an end of its interval."""
    if shorter.length < crossing.length < longer.length:
        return crossing.length
    for before, after in ((shorter.low, longer.low), (shorter.high, longer.high)):
        if before is not None and after is not None and (before > 1) != (after > 1):
            part = math.log(before) / math.log(before / after)
            return shorter.length * math.pow(longer.length / shorter.length, part)
    return math.sqrt(shorter.length * longer.length)


def _divide(inside: Sequence[int], gap: _Gap) -> int:
    """The length next to the target towards the middle of the gap, so that most likely the longer part falls away."""
    middle = math.sqrt(gap.before * gap.after)
    index = bisect_left(inside, gap.target) if gap.target < middle else bisect_right(inside, gap.target) - 1
    return inside[min(max(index, 0), len(inside) - 1)]


def _crests(grid: Sequence[int], period: int) -> list[int]:
    """The first grid length above each multiple of the period, and both ends of the grid."""
    first: dict[int, int] = {}
    for length in grid:
        first.setdefault((length - 1) // period, length)
    return sorted({grid[0], *first.values(), grid[-1]})


def _nearest(lengths: Sequence[int], target: float) -> int:
    return min(lengths, key=lambda length: abs(math.log(length / target)))

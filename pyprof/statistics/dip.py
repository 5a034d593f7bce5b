"""Hartigan's dip test: whether values have more than one mode (Annals of Statistics 13, 1985). Loads numpy only.

The dip is the least distance, in the sense of Kolmogorov, between the values' distribution function and any that rises
ever faster up to one mode and ever slower beyond. Uniform values have the greatest dips of all that have one mode, so
that a dip which they rarely reach shows more modes than one.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Below this many values the test is too weak to be worth its name.
FEWEST = 20
# sqrt(n) times the dip that uniform samples of n values exceed in one of a hundred cases; simulated, and simulated
# again by tests/statistics/test_dip.py. In between the root of n is interpolated, beyond the last one it stays.
CRITICAL = {20: 0.537, 30: 0.556, 50: 0.570, 100: 0.592, 200: 0.601, 500: 0.616, 1000: 0.617, 2000: 0.621}


def dip(ordered: Floats) -> float:
    """The dip of values that ascend without ties, from 1 / (2 n) to 1 / 4.

    Narrows the interval that may hold the mode, as in Hartigan's algorithm (Applied Statistics 34, 1985): where the
    greatest convex curve below the distribution function and the least concave one above are furthest apart, and by
    more than the dip so far, the mode lies between; outside of it the two curves' distances from the function count.
    """
    values = ordered.tolist()
    count = len(values)
    # In units of 1 / n; the function jumps by one at each value, which is why one is added to every distance.
    low, high, widest = 0, count - 1, 1.0
    while True:
        below, above = _hull(values, low, high, 1), _hull(values, low, high, -1)
        gap, left, right = _furthest(ordered, below, above)
        if gap <= widest:
            return widest / (2 * count)
        widest = max(widest, _distance(ordered, below, low, left), _distance(ordered, above, right, high))
        if (left, right) == (low, high):
            return widest / (2 * count)
        low, high = left, right


def is_multimodal(ordered: Floats, effective: float | None = None) -> bool:
    """Whether the dip shows more than one mode, with an error of at most one in a hundred.

    `effective` is how many independent values these are worth, where they depend on each other.
    """
    worth = len(ordered) if effective is None else effective
    return worth >= FEWEST and math.sqrt(worth) * dip(ordered) > _critical(worth)


def _critical(count: float) -> float:
    roots = [math.sqrt(size) for size in CRITICAL]
    return float(np.interp(math.sqrt(count), roots, list(CRITICAL.values())))


def _hull(values: list[float], low: int, high: int, side: int) -> list[int]:
    """The corners of the greatest convex curve below the points (value, rank), for side 1, or of the other, for -1."""
    corners = [low]
    for i in range(low + 1, high + 1):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            # The corner b falls away where the way to it is not less steep than the way past it.
            if side * ((b - a) * (values[i] - values[b]) - (i - b) * (values[b] - values[a])) < 0:
                break
            corners.pop()
        corners.append(i)
    return corners


def _at(ordered: Floats, corners: list[int], places: npt.NDArray[np.int64]) -> Floats:
    """The curve's ranks at these places."""
    return np.interp(ordered[places], ordered[corners], np.array(corners, np.float64))


def _furthest(ordered: Floats, below: list[int], above: list[int]) -> tuple[float, int, int]:
    """How far apart the curves are at most, and the corners of the lower and of the upper one around that place."""
    under, over = np.array(below), np.array(above)
    at_under = _at(ordered, above, under) - under + 1
    at_over = over - _at(ordered, below, over) + 1
    first, second = int(np.argmax(at_under)), int(np.argmax(at_over))
    if at_under[first] >= at_over[second]:
        left = below[first]
        return float(at_under[first]), left, above[int(np.searchsorted(over, left))]
    right = above[second]
    return float(at_over[second]), below[int(np.searchsorted(under, right, side="right")) - 1], right


def _distance(ordered: Floats, corners: list[int], begin: int, end: int) -> float:
    """How far the distribution function is from a curve at most, from one corner of it to another."""
    places = np.arange(begin, end + 1)
    return float(np.max(np.abs(_at(ordered, corners, places) - places))) + 1

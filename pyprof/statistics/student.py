"""Student's distribution, for whole degrees of freedom. Loads no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist, stdev

_NORMAL = NormalDist()


# From here on Student's distribution is taken as the normal one.
_MANY = 1000


def student_tail(value: float, degrees: float) -> float:
    """The probability that Student's t exceeds a value; degrees of freedom are rounded down to whole ones.

    The closed form for whole degrees (Abramowitz and Stegun, 26.7.3 and 26.7.4).
    """
    if degrees >= _MANY:
        return 1 - _NORMAL.cdf(value) if value < 0 else _NORMAL.cdf(-value)
    whole = max(1, math.floor(degrees))
    angle = math.atan2(value, math.sqrt(whole))
    cosine, sine = math.cos(angle), math.sin(angle)
    term = total = 1.0 if whole % 2 == 0 else cosine
    for step in range(2 if whole % 2 else 1, whole - 1, 2):
        term *= cosine**2 * step / (step + 1)
        total += term
        if term < 1e-17 * total:
            break
    inside = sine * total if whole % 2 == 0 else 2 / math.pi * (angle + (sine * total if whole > 1 else 0.0))
    return min(1.0, max(0.0, (1 - inside) / 2))


def student_quantile(probability: float, degrees: float) -> float:
    """The value that Student's t stays below with a probability of at least one half.

    Degrees of freedom are rounded down to whole ones, from one hundred on to whole tens, so that few need computing.
    """
    if degrees >= _MANY:
        return _NORMAL.inv_cdf(probability)
    whole = max(1, math.floor(degrees))
    return _quantile(probability, whole if whole < 100 else whole // 10 * 10)


def student_half_width(values: Sequence[float], confidence: float) -> float:
    """Half of Student's interval of the mean of independent values, of which there are two at least."""
    return student_quantile((1 + confidence) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))


@lru_cache(maxsize=4096)
def _quantile(probability: float, degrees: int) -> float:
    """By bisection, until the bounds are as close as they come."""
    low, high = 0.0, 1.0
    while student_tail(high, degrees) > 1 - probability:
        low, high = high, high * 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, degrees) > 1 - probability else (low, middle)
    return high

"""Intervals of means that have bounds, such as a share of right answers: they stay within these. Loads no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyprof.errors import UsageError

# Beyond it the exponential is too large for a number.
_STEEP = 700.0


def bounded_interval(
    mean: float, half: float, least: float | None = None, most: float | None = None
) -> tuple[float, float]:
    """The interval of a mean that cannot lie below `least` or above `most`, from its half-width without bounds.

    It is taken where the bounds are infinitely far away, on the logarithm of the odds (on the logarithm of the distance
    where there is one bound), with the half-width that the delta method gives there, and brought back (Korn and
    Graubard, Survey Methodology 24, 1998, for shares that differ between clusters). It holds the mean and reaches
    further towards the middle than towards the near bound, as the scatter of shares does; where the mean is far from
    the bounds, or the half-width small, it is that without bounds. Raises UsageError for a mean outside of the bounds.
    """
    below = math.inf if least is None else mean - least
    above = math.inf if most is None else most - mean
    if below < 0 or above < 0:
        raise UsageError(f"a mean of {mean:g} lies outside of its bounds, {least} and {most}")
    if half == 0 or below == 0 or above == 0:
        return mean, mean
    if least is None and most is None:
        return mean - half, mean + half
    if most is None:
        assert least is not None
        factor = math.exp(min(half / below, _STEEP))
        return least + below / factor, least + below * factor
    if least is None:
        factor = math.exp(min(half / above, _STEEP))
        return most - above * factor, most - above / factor
    factor = math.exp(min(half * (most - least) / (below * above), _STEEP))
    return (
        least + (most - least) * below / (below + above * factor),
        most - (most - least) * above / (above + below * factor),
    )


def interval_of_average(estimates: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """The interval of the average of independent values, each with its own (value, low, high).

    The distances to the lower ends are summed in squares, and so are those to the upper ends (Zou and Donner,
    Statistics in Medicine 27, 2008), so that bounds that all values keep are kept. Raises UsageError without values.
    """
    if not estimates:
        raise UsageError("there are no values to take an average of: give at least one")
    count = len(estimates)
    average = sum(value for value, _, _ in estimates) / count
    down = math.hypot(*(value - low for value, low, _ in estimates)) / count
    up = math.hypot(*(high - value for value, _, high in estimates)) / count
    return average - down, average + up

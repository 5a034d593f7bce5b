"""Whether a case became slower between two runs, from a few samples of each, on a machine whose speed changes.

All is done on logarithms of times, so that a difference is a ratio. Where both runs timed a yardstick in the same
rounds, each sample is divided by it first. The estimate is the Hodges-Lehmann shift; its error has three parts, which
are independent and add in squares:

*within*: what the samples of the two runs show by themselves. The machine changes its speed within a round too, between
a step and the yardstick, which gives wild samples; so it is the standard error of trimmed means, a fifth off each end,
with its degrees of freedom (Yuen, Biometrika 61, 1974), which wild samples hardly move.

*drift*: a yardstick corrects fully only a step that slows down exactly as it does. On the machine that this was made
for, the slope of a step's logarithm on the yardstick's was 0.85 to 1.0 for steps like BERT's and 0.7 to 1.3 for small
ones, so a slope is taken as 1 with a standard deviation of 0.1, and so much of the yardstick's own change between the
runs stays uncertain. Where slopes are further off, the shifts scatter, and the next part grows.

*scatter*: what differs from run to run and stays the same within one (where memory came to lie, a neighbour that was
there all the time), which no number of samples of one run shows. It is estimated from all cases together: two
neighbours, the same model at the next length, were measured at different times and share what a change of the code did
to them, so the difference of their shifts is noise for nearly all of them. The median size of the differences tells the
scatter, whatever some of the cases do; shifts themselves are never centred, since a change that slows down everything
is to be found. The third of the pairs that are known best decides, as in the others the first two parts hide it, and
the estimate is an upper one, since too small a scatter raises false alarms.

With six samples on each side a rank test cannot give less than 1/924, which control over fifty cases asks for more
than; hence Student's distribution, and Holm's procedure, which holds under any dependence of the cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pyprof.statistics.ranks import median_difference
from pyprof.statistics.student import student_quantile, student_tail

LEVEL = 0.05
# The share of the samples that is left out at each end for the standard error.
TRIMMED = 0.2
# The standard deviation of a step's slope on the yardstick.
SLOPE_DEVIATION = 0.1
# Pairs of neighbours that an estimate of the scatter needs; with fewer it is assumed, with and without a yardstick.
FEWEST_NEIGHBOURS = 8
ASSUMED_SCATTER = {True: 0.02, False: 0.1}
# The power at which a difference counts as one that would have been shown.
POWER = 0.8

# Half of all normal deviates lie closer to zero than this.
_PROBABLE = NormalDist().inv_cdf(0.75)

Logs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Timings:
    """The logarithms of one case's times in one run, and of the yardstick in the same rounds where there was one."""

    times: Logs
    yardstick: Logs | None = None


@dataclass(frozen=True)
class Shift:
    """How far the logarithm of a case's time moved between two runs.

    `within` and `drift` are standard deviations, `freedom` the degrees of freedom of the first. `corrected` says that
    times are in units of a yardstick.
    """

    value: float
    within: float
    freedom: float
    drift: float = 0.0
    corrected: bool = False

    def error(self, scatter: float) -> float:
        """The standard error, with the scatter between runs."""
        return math.hypot(self.within, self.drift, scatter)

    def degrees(self, scatter: float) -> float:
        """Degrees of freedom of the error (Welch and Satterthwaite), of which only the part within is an estimate."""
        if self.within == 0:
            return math.inf
        return self.freedom * (self.error(scatter) / self.within) ** 4

    def interval(self, scatter: float, level: float = LEVEL) -> tuple[float, float]:
        """The interval that holds the true shift with a probability of 1 - level."""
        half = student_quantile(1 - level / 2, self.degrees(scatter)) * self.error(scatter)
        return self.value - half, self.value + half

    def exceeds(self, margin: float, scatter: float) -> float:
        """The one-sided p value of the shift being no larger than the margin."""
        return self._tail(self.value - margin, scatter)

    def falls_below(self, margin: float, scatter: float) -> float:
        """The one-sided p value of the shift being no smaller than the margin."""
        return self._tail(margin - self.value, scatter)

    def detectable(self, scatter: float, level: float) -> float:
        """The smallest excess over a margin that would have been shown at a level with a probability of 80 %."""
        degrees = self.degrees(scatter)
        return (student_quantile(1 - level, degrees) + student_quantile(POWER, degrees)) * self.error(scatter)

    def _tail(self, distance: float, scatter: float) -> float:
        error = self.error(scatter)
        if error == 0:
            return 0.0 if distance > 0 else 1.0
        return student_tail(distance / error, self.degrees(scatter))


@dataclass(frozen=True)
class Scatter:
    """The standard deviation between runs, of how many pairs of neighbours; `measured` is false where it is assumed."""

    value: float
    pairs: int
    measured: bool


def shift(baseline: Timings, head: Timings) -> Shift | None:
    """How far the head's times lie above the baseline's; None where one of the two has fewer than two samples."""
    if min(len(baseline.times), len(head.times)) < 2:
        return None
    corrected = baseline.yardstick is not None and head.yardstick is not None
    x, y, drift = baseline.times, head.times, 0.0
    if baseline.yardstick is not None and head.yardstick is not None:
        x, y = x - baseline.yardstick, y - head.yardstick
        drift = SLOPE_DEVIATION * abs(float(head.yardstick.mean() - baseline.yardstick.mean()))
    parts = [_squared_error(each) for each in (x, y)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / count for part, count in parts) if variance > 0 else math.inf
    return Shift(median_difference(x, y), math.sqrt(variance), freedom, drift, corrected)


def _squared_error(values: Logs) -> tuple[float, int]:
    """The squared standard error of the trimmed mean, by the winsorized variance, and its degrees of freedom."""
    count = len(values)
    cut = int(TRIMMED * count)
    ordered = np.sort(values)
    kept = count - 2 * cut
    winsorized = np.clip(ordered, ordered[cut], ordered[count - 1 - cut])
    return (count - 1) * float(winsorized.var(ddof=1)) / (kept * (kept - 1)), kept - 1


def scatter_of(neighbours: Sequence[tuple[Shift, Shift]], corrected: bool) -> Scatter:
    """The scatter between runs, by the differences of neighbouring shifts.

    It is the scatter at which the size of a difference, in units of its own error, has the median of a normal deviate.
    Of the order statistics the one is taken below which the true median lies with a probability of 84 %.
    """
    if len(neighbours) < FEWEST_NEIGHBOURS:
        return Scatter(ASSUMED_SCATTER[corrected], len(neighbours), False)
    known = np.array([shorter.error(0) ** 2 + longer.error(0) ** 2 for shorter, longer in neighbours])
    sizes = np.array([abs(shorter.value - longer.value) for shorter, longer in neighbours])
    best = np.argsort(known, kind="stable")[: max(FEWEST_NEIGHBOURS, len(neighbours) // 3)]
    # The scatter, squared, at which each size is as long as half of all normal deviates are at most.
    squares = np.sort((sizes[best] / _PROBABLE) ** 2 - known[best]) / 2
    rank = math.ceil(len(best) / 2 + math.sqrt(len(best)) / 2)
    return Scatter(math.sqrt(max(0.0, float(squares[rank - 1]))), len(neighbours), True)

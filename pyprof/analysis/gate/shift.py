"""Whether a case became slower between two runs, from a few samples of each, on a machine whose speed changes.

All is done on logarithms of times, so that a difference is a ratio. Where both runs timed a yardstick in the same
rounds, each sample is divided by it first. The estimate is the Hodges-Lehmann shift; its error has four parts, which
are independent and add in squares:

*within*: what the samples of the two runs show by themselves. The machine changes its speed within a round too, between
a step and the yardstick, which gives wild samples; so it is the standard error of trimmed means, a fifth off each end,
with its degrees of freedom (Yuen, Biometrika 61, 1974), which wild samples hardly move.

*drift*: a yardstick corrects fully only a step that slows down exactly as it does. On the machine that this was made
for, the slope of a step's logarithm on the yardstick's was 0.85 to 1.0 for steps like BERT's and 0.7 to 1.3 for small
ones, so a slope is taken as 1 with a standard deviation of 0.1, and so much of the yardstick's own change between the
runs stays uncertain. Where slopes are further off, the shifts scatter, and the last part grows.

*state*: a yardstick that is slower or faster by more than five percent in nearly all rounds of a run has not met a
neighbour for some seconds but a machine in another state, of its memory, say, which a matrix product hardly touches.
Real runs of the same code then differed by once or twice as much beyond the yardstick's change, nearly all cases alike,
so that no difference of neighbours shows it. Twice what exceeds the five percent is a standard deviation of each shift.

*doubt*: how much of a time was a wait for other processes is known within bounds (``pyprof.records.disturbance``). It
is no error that would scatter, so it adds in full: the true shift lies between the one where all waits delayed the head
and none the baseline, and the reverse.

*scatter*: what differs from run to run and stays the same within one (where memory came to lie, a neighbour that was
there all the time), which no number of samples of one run shows. It is estimated from all cases together: two
neighbours, the same model at the next length, were measured at different times and share what a change of the code did
to them, so the difference of their shifts is noise for nearly all of them. The median size of the differences tells the
scatter, whatever some of the cases do; shifts themselves are never centred, since a change that slows down everything
is to be found. The third of the pairs that are known best decides, as in the others the first two parts hide it, and
the estimate is an upper one, since too small a scatter raises false alarms.

Two runs that took turns met the same machine, so the rounds that came one after the other are pairs: the estimate is
the Hodges-Lehmann centre of their differences, its error *within* the trimmed one of these, and there is neither drift
nor state. On two cores whose speed changed all the time, that error was 0.4 times that of samples divided by the
yardstick's, which then adds nothing but its own noise.

With six samples on each side a rank test cannot give less than 1/924, which control over fifty cases asks for more
than; hence Student's distribution, and Holm's procedure, which holds under any dependence of the cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pyprof.records.disturbance import FEWEST
from pyprof.statistics.ranks import median_difference, signed_rank
from pyprof.statistics.student import student_quantile, student_tail

LEVEL = 0.05
# The share of the samples that is left out at each end for the standard error.
TRIMMED = 0.2
# The standard deviation of a step's slope on the yardstick.
SLOPE_DEVIATION = 0.1
# Where the yardstick moved by more than this in three of four rounds, the excess is uncertain, by so many times itself.
STATE_FREE, STATE_DEVIATION = 0.05, 2.0
# Pairs of neighbours that an estimate of the scatter needs; with fewer it is assumed, with and without a yardstick, and
# more than that where as many as these typically show more.
FEWEST_NEIGHBOURS, FEWEST_THAT_WARN = 8, 4
ASSUMED_SCATTER = {True: 0.02, False: 0.1}
# The power at which a difference counts as one that would have been shown.
POWER = 0.8

# Half of all normal deviates lie closer to zero than this.
_PROBABLE = NormalDist().inv_cdf(0.75)

Logs = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Timings:
    """The logarithms of one case's times in one run, and of the yardstick in the same rounds where there was one.

    `doubt` and `yardstick_doubt` say how far each of them may lie too high. `ended` is when, where another process took
    turns with this one.
    """

    times: Logs
    yardstick: Logs | None = None
    doubt: Logs | None = None
    yardstick_doubt: Logs | None = None
    ended: Logs | None = None

    @property
    def relative(self) -> Logs:
        """The times in units of the yardstick's, if there is one."""
        return self.times if self.yardstick is None else self.times - self.yardstick

    @property
    def least(self) -> Logs:
        """The same if all that was waited delayed the case and not the yardstick."""
        return self.relative if self.doubt is None else self.relative - self.doubt

    @property
    def most(self) -> Logs:
        """The same if it delayed the yardstick and not the case."""
        beside = None if self.yardstick is None else self.yardstick_doubt
        return self.relative if beside is None else self.relative + beside


@dataclass(frozen=True)
class Shift:
    """How far the logarithm of a case's time moved between two runs.

    `within`, `drift` and `state` are standard deviations, `freedom` the degrees of freedom of the first. `corrected`
    says that times are in units of a yardstick, and `speed` how far the yardstick itself moved; `in_turn` that they are
    paired by when they were taken. The true value lies between `below` under and `above` over the estimate even without
    any error, as it isn't known what waits delayed.
    """

    value: float
    within: float
    freedom: float
    drift: float = 0.0
    corrected: bool = False
    speed: float = 0.0
    below: float = 0.0
    above: float = 0.0
    state: float = 0.0
    in_turn: bool = False

    def error(self, scatter: float) -> float:
        """The standard error, with the scatter between runs."""
        return math.hypot(self.within, self.drift, self.state, scatter)

    def degrees(self, scatter: float) -> float:
        """Degrees of freedom of the error (Welch and Satterthwaite), of which only the part within is an estimate."""
        if self.within == 0:
            return math.inf
        return self.freedom * (self.error(scatter) / self.within) ** 4

    def interval(self, scatter: float, level: float = LEVEL) -> tuple[float, float]:
        """The interval that holds the true shift with a probability of 1 - level."""
        half = student_quantile(1 - level / 2, self.degrees(scatter)) * self.error(scatter)
        return self.value - self.below - half, self.value + self.above + half

    def exceeds(self, margin: float, scatter: float) -> float:
        """The one-sided p value of the shift being no larger than the margin."""
        return self._tail(self.value - self.below - margin, scatter)

    def falls_below(self, margin: float, scatter: float) -> float:
        """The one-sided p value of the shift being no smaller than the margin."""
        return self._tail(margin - self.value - self.above, scatter)

    def detectable(self, scatter: float, level: float) -> float:
        """The smallest excess over a margin that would have been shown at a level with a probability of 80 %."""
        degrees = self.degrees(scatter)
        errors = student_quantile(1 - level, degrees) + student_quantile(POWER, degrees)
        return errors * self.error(scatter) + self.below + self.above

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
    paired = _paired(baseline, head)
    if paired is not None:
        return paired
    corrected = baseline.yardstick is not None and head.yardstick is not None
    speed = 0.0
    if baseline.yardstick is not None and head.yardstick is not None:
        speed = float(head.yardstick.mean() - baseline.yardstick.mean())
    else:
        baseline, head = replace(baseline, yardstick=None), replace(head, yardstick=None)
    x, y = baseline.relative, head.relative
    value = median_difference(x, y)
    below, above = _bounds(baseline, head, value)
    parts = [_squared_error(each) for each in (x, y)]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / count for part, count in parts) if variance > 0 else math.inf
    return Shift(
        value=value,
        within=math.sqrt(variance),
        freedom=freedom,
        drift=SLOPE_DEVIATION * abs(speed),
        corrected=corrected,
        speed=speed,
        below=below,
        above=above,
    )


def _paired(baseline: Timings, head: Timings) -> Shift | None:
    """The shift by pairs of neighbours in time; None where turns were not taken, or there are too few pairs."""
    if baseline.ended is None or head.ended is None:
        return None
    before, after = neighbours_in_time(baseline.ended, head.ended)
    if len(before) < FEWEST:
        return None
    differences = head.times[after] - baseline.times[before]
    less, more = (
        np.zeros(len(places)) if doubt is None else doubt[places]
        for doubt, places in ((head.doubt, after), (baseline.doubt, before))
    )
    value, least, most = (signed_rank(each).value for each in (differences, differences - less, differences + more))
    variance, freedom = _squared_error(differences)
    return Shift(
        value=value,
        within=math.sqrt(variance),
        freedom=freedom,
        below=max(0.0, value - least),
        above=max(0.0, most - value),
        in_turn=True,
    )


def neighbours_in_time(before: Logs, after: Logs) -> tuple[Places, Places]:
    """The places of readings in two ascending series of times that come one right after the other, each used once."""
    timeline = sorted(
        [(moment, 0, place) for place, moment in enumerate(before)]
        + [(moment, 1, place) for place, moment in enumerate(after)]
    )
    pairs: tuple[list[int], list[int]] = ([], [])
    waiting: tuple[int, int] | None = None
    for _, side, place in timeline:
        if waiting is None or waiting[0] == side:
            waiting = (side, place)
            continue
        pairs[side].append(place)
        pairs[1 - side].append(waiting[1])
        waiting = None
    return np.array(pairs[0], dtype=np.intp), np.array(pairs[1], dtype=np.intp)


def _bounds(baseline: Timings, head: Timings, value: float) -> tuple[float, float]:
    """How far the true shift may lie under and over the value, by what waits may have delayed."""
    if all(each.doubt is None and each.yardstick_doubt is None for each in (baseline, head)):
        return 0.0, 0.0
    least = median_difference(baseline.most, head.least)
    most = median_difference(baseline.least, head.most)
    return max(0.0, value - least), max(0.0, most - value)


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
        # One length that changed by itself shifts two pairs, which must not hide it.
        shown = _shown_scatter(neighbours, len(neighbours) // 2) if len(neighbours) >= FEWEST_THAT_WARN else 0.0
        return Scatter(max(ASSUMED_SCATTER[corrected], shown), len(neighbours), False)
    return Scatter(_shown_scatter(neighbours), len(neighbours), True)


def _shown_scatter(neighbours: Sequence[tuple[Shift, Shift]], rank: int | None = None) -> float:
    known = np.array([shorter.error(0) ** 2 + longer.error(0) ** 2 for shorter, longer in neighbours])
    sizes = np.array([abs(shorter.value - longer.value) for shorter, longer in neighbours])
    best = np.argsort(known, kind="stable")[: max(FEWEST_NEIGHBOURS, len(neighbours) // 3)]
    # The scatter, squared, at which each size is as long as half of all normal deviates are at most.
    squares = np.sort((sizes[best] / _PROBABLE) ** 2 - known[best]) / 2
    rank = math.ceil(len(best) / 2 + math.sqrt(len(best)) / 2) if rank is None else rank
    return math.sqrt(max(0.0, float(squares[rank - 1])))

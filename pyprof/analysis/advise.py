"""Which of a run's models to choose for inputs of given lengths: expected costs, how sure, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pyprof.analysis.curves import Curves, Setting
from pyprof.analysis.lengths import Lengths
from pyprof.analysis.ratio import Cost, costs, ratio_points, widening
from pyprof.errors import UsageError
from pyprof.records.comparison import Subject
from pyprof.records.indicator import IndicatorFacts

Fit = Literal["fits", "may fit", "does not fit"]
Curve = Mapping[int, float]

# How far inputs may be scaled in the search for what would change the choice.
_FARTHEST = 16.0
_STEPS = 96


@dataclass(frozen=True)
class Candidate:
    """One model: what an example costs on average over the lengths, in the indicator's unit.

    `ratio` is that in units of the chosen one's, with bounds that hold together for all candidates with 95 % (None for
    the chosen one, and where there is no interval). `at_quantile` is the cost of the length that the asked share of
    examples does not exceed, and `fit` whether that lies within the budget. `beyond` is the share of examples that are
    longer than all lengths at which the model was measured, whose cost is continued as it grew last.
    """

    subject: Subject
    expected: float
    ratio: float | None
    low: float | None
    high: float | None
    at_quantile: float
    fit: Fit | None
    beyond: float
    tokens: float


@dataclass(frozen=True)
class Change:
    """Another model would be chosen if all inputs were `factor` times as long (mean length `mean`)."""

    factor: float
    mean: float
    subject: Subject


@dataclass(frozen=True)
class Advice:
    """The candidates, least expected cost first, and the choice: the first that fits the budget, None where none does.

    `shown`: the interval of every rival's ratio (of those that may fit) lies above 1. `budget_for` is the least budget
    with which any model fits; `changes` what would change the choice, nearest first.
    """

    indicator: IndicatorFacts
    setting: Setting
    lengths: Lengths
    quantile: float
    budget: float | None
    candidates: tuple[Candidate, ...]
    choice: Subject | None
    shown: bool
    budget_for: float | None
    changes: tuple[Change, ...]


def advise(
    curves: Curves,
    setting: Setting,
    indicator: IndicatorFacts,
    lengths: Lengths,
    *,
    padded: Callable[[Lengths], Lengths] = lambda lengths: lengths,
    periods: Mapping[Subject, int] | None = None,
    budget: float | None = None,
    quantile: float = 0.95,
) -> Advice:
    """Advise on the models of one setting; `padded` is what batches and buckets make of the lengths.

    `periods` are the multiples to which models pad by themselves: between two measured lengths their cost is that of
    the multiple. Elsewhere a cost between two lengths is interpolated, logarithm over logarithm.
    Raises UsageError where no model has the indicator in that setting.
    """
    known = {
        subject: found
        for (subject, at), curve in curves.ok.items()
        if at == setting and (found := costs(curve, indicator))
    }
    if not known:
        raise UsageError(f"the run has no {indicator.name} in mode {setting.mode}: choose another metric or mode")
    team = _Team(indicator, known, periods or {}, padded)
    expected = {subject: team.expected(subject, lengths) for subject in known}
    order = sorted(known, key=lambda subject: _as_cost(indicator, expected[subject]))
    fits = {subject: team.fit(subject, lengths, quantile, budget) for subject in order}
    choice = next((subject for subject in order if fits[subject] in (None, "fits")), None)
    first = order[0] if choice is None else choice
    looks = len(order) - 1
    candidates, shown = [], choice is not None
    for subject in order:
        ratio, low, high = (None, None, None) if subject == first else team.ratio(subject, first, lengths, looks)
        candidates.append(
            Candidate(
                subject,
                expected[subject],
                ratio,
                low,
                high,
                team.at(subject, padded(lengths).quantile(quantile)),
                fits[subject],
                team.beyond(subject, lengths),
                padded(lengths).mean,
            )
        )
        if subject != first and fits[subject] != "does not fit":
            shown &= low is not None and low > 1
    needed = min((team.at(subject, padded(lengths).quantile(quantile)) for subject in order), default=None)
    changes = tuple(_changes(team, lengths, quantile, budget, choice)) if choice is not None else ()
    return Advice(indicator, setting, lengths, quantile, budget, tuple(candidates), choice, shown, needed, changes)


@dataclass(frozen=True)
class _Team:
    indicator: IndicatorFacts
    known: Mapping[Subject, Mapping[int, Cost]]
    periods: Mapping[Subject, int]
    padded: Callable[[Lengths], Lengths]

    def at(self, subject: Subject, length: int) -> float:
        """The figure at a length, in the indicator's unit."""
        value = _between(self._values(subject), self._own(subject, length))
        return math.exp(-value if self.indicator.better == "higher" else value)

    def expected(self, subject: Subject, lengths: Lengths) -> float:
        """What an example costs on average; of a rate the examples by the time that they take together."""
        taken = self._mean(
            lambda length: math.exp(_between(self._values(subject), self._own(subject, length))), lengths
        )
        return 1 / taken if self.indicator.better == "higher" else taken

    def ratio(
        self, ours: Subject, theirs: Subject, lengths: Lengths, looks: int
    ) -> tuple[float, float | None, float | None]:
        """The ratio of two expected costs, from the ratios at common lengths, which were timed in turn.

        The bounds are those of all lengths at once, and widened for the number of rivals, so they err to the safe side.
        """
        points = ratio_points(self.known[ours], self.known[theirs])
        whole = self._mean(partial(self._cost, theirs), lengths)
        ratio = self._mean(partial(self._cost, ours), lengths) / whole
        if not points or any(point.low is None or point.high is None for point in points):
            return ratio, None, None
        wide = widening(max(looks, 1))
        bounds = [
            self._mean(
                partial(
                    self._cost,
                    ours,
                    apart={each.length: wide * math.log(getattr(each, side) / each.ratio) for each in points},
                ),
                lengths,
            )
            for side in ("low", "high")
        ]
        return ratio, bounds[0] / whole, bounds[1] / whole

    def _cost(self, subject: Subject, length: int, apart: Curve | None = None) -> float:
        """What an example of a length costs; `apart` are the distances of a bound, as logarithms by length."""
        value = _between(self._values(subject), self._own(subject, length))
        return math.exp(value + (0.0 if apart is None else _between(apart, length)))

    def fit(self, subject: Subject, lengths: Lengths, quantile: float, budget: float | None) -> Fit | None:
        """Whether the cost of the length that so many examples do not exceed lies within the budget.

        Without an interval nothing surely does, and what is above it by its median does not.
        """
        if budget is None:
            return None
        length = self._own(subject, self.padded(lengths).quantile(quantile))
        known = self.known[subject]
        centre = _between(self._values(subject), length)
        spread = [
            _between({at: getattr(cost, side) for at, cost in known.items()}, length) for side in ("below", "above")
        ]
        bound = math.log(budget)
        if self.indicator.better == "higher":
            bound = -bound
        if centre + spread[1] <= bound:
            return "fits"
        below = spread[0] if math.isfinite(spread[0]) else 0.0
        return "may fit" if centre - below <= bound else "does not fit"

    def beyond(self, subject: Subject, lengths: Lengths) -> float:
        """The share of examples that are longer than all measured lengths."""
        longest = max(self.known[subject])
        padded = self.padded(lengths)
        return sum(share for value, share in zip(padded.values, padded.shares, strict=True) if value > longest)

    def _values(self, subject: Subject) -> Curve:
        return {length: cost.value for length, cost in self.known[subject].items()}

    def _own(self, subject: Subject, length: int) -> int:
        """The length that the model makes of it; a measured one stays what it is."""
        period = self.periods.get(subject)
        if period is None or length in self.known[subject]:
            return length
        upper = -(-length // period) * period
        # Any measured length of the same step of the staircase costs the same.
        same = [known for known in self.known[subject] if upper - period < known <= upper]
        return same[-1] if same else upper

    def _mean(self, figure: Callable[[int], float], lengths: Lengths) -> float:
        padded = self.padded(lengths)
        return sum(share * figure(value) for value, share in zip(padded.values, padded.shares, strict=True))


def _as_cost(indicator: IndicatorFacts, value: float) -> float:
    return 1 / value if indicator.better == "higher" else value


def _between(curve: Curve, length: int) -> float:
    """A curve of logarithms over the logarithm of the length; outside of it as it grew last, never falling."""
    lengths = sorted(curve)
    if length in curve:
        return curve[length]
    if len(lengths) == 1 or length < lengths[0]:
        return curve[lengths[0]]
    if length > lengths[-1]:
        slope = _slope(curve, lengths[-2], lengths[-1])
        return curve[lengths[-1]] + max(slope, 0.0) * math.log(length / lengths[-1])
    upper = next(each for each in lengths if each > length)
    lower = lengths[lengths.index(upper) - 1]
    return curve[lower] + _slope(curve, lower, upper) * math.log(length / lower)


def _slope(curve: Curve, lower: int, upper: int) -> float:
    if not all(map(math.isfinite, (curve[lower], curve[upper]))):
        return 0.0 if curve[lower] == curve[upper] else math.inf
    return (curve[upper] - curve[lower]) / math.log(upper / lower)


def _changes(team: _Team, lengths: Lengths, quantile: float, budget: float | None, choice: Subject) -> Sequence[Change]:
    """The nearest factor above and below 1 at which another model is chosen, within what was measured."""
    longest = min(max(known) for known in team.known.values())
    shortest = min(min(known) for known in team.known.values())
    found = []
    for sign in (1, -1):
        for step in range(1, _STEPS + 1):
            factor = _FARTHEST ** (sign * step / _STEPS)
            scaled = lengths.scaled(factor)
            try:
                padded = team.padded(scaled)
            except UsageError:  # longer than every bucket
                break
            if padded.values[-1] > longest or scaled.mean < shortest:
                break
            best = _choice(team, scaled, quantile, budget)
            if best is not None and best != choice:
                found.append(Change(factor, scaled.mean, best))
                break
    return sorted(found, key=lambda change: abs(math.log(change.factor)))


def _choice(team: _Team, lengths: Lengths, quantile: float, budget: float | None) -> Subject | None:
    order = sorted(team.known, key=lambda subject: _as_cost(team.indicator, team.expected(subject, lengths)))
    return next((one for one in order if team.fit(one, lengths, quantile, budget) in (None, "fits")), None)

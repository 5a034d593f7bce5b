"""Rankings: which of several models costs least at one length, and how sure that is.

Every model is held against the one that costs least. That one is *shown* to cost least where the interval of each of
these ratios, widened for their number (Bonferroni), excludes 1: whichever of the models is named, luck names a wrong
one with 5 % at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby

from pyprof.analysis.curves import Curve, Curves, Setting
from pyprof.analysis.ratio import Cost, RatioPoint, costs, ratio_of, shown_dearer, widening
from pyprof.records.comparison import Pairing, Subject
from pyprof.records.indicator import IndicatorFacts, OfIndicator

# The samples that are asked for are more than the interval's width says by this factor, because the next run's ratio
# will not be exactly this one's.
MARGIN = 1.3
# Two costs that are nearer than this are told apart by no reasonable number of samples, nor does it matter.
ALIKE = 0.002
# The fewest samples that give an interval.
FEWEST = 6


@dataclass(frozen=True)
class Place:
    """One model's place: its figure in the indicator's unit, and its cost in units of the least (None for that itself).

    `shown`: it is shown to cost more than the first, or to cost exactly as much as counted figures can tell.
    """

    subject: Subject
    value: float
    ratio: RatioPoint | None = None
    shown: bool = True

    @property
    def ties(self) -> bool:
        """Whether it is counted and costs exactly as much as the first."""
        return self.shown and self.ratio is not None and self.ratio.ratio == 1


@dataclass(frozen=True)
class Longer:
    """What it would take to show which costs least: rounds of samples, the relative half-width to be reached by the
    ratios, and how many seconds that is for one case and for all of them.
    """

    samples: int
    precision: float
    case_seconds: float
    seconds: float


@dataclass(frozen=True)
class Ranking(OfIndicator):
    """What some models cost at one length, in one setting and sense (``then``, ``now``): the least first.

    `missing` are the models that have no figure, with the status in its place. `longer` is None where the order is
    shown, and where no number of samples would show it.
    """

    name: str
    indicator: IndicatorFacts
    setting: Setting
    length: int
    places: tuple[Place, ...]
    missing: tuple[tuple[Subject, str], ...] = ()
    longer: Longer | None = None

    @property
    def leaders(self) -> tuple[Subject, ...]:
        """Those that may cost least: one alone where that is shown."""
        ahead = (place for place in self.places[1:] if place.ties or not place.shown)
        return (self.places[0].subject, *(place.subject for place in ahead))

    @property
    def decided(self) -> bool:
        """Whether it is shown which one costs least, or that several cost exactly the same."""
        return all(place.shown for place in self.places[1:])


@dataclass(frozen=True)
class Reign:
    """Neighbouring measured lengths at which the same models may cost least: one alone where that is shown."""

    shortest: int
    longest: int
    leaders: tuple[Subject, ...]


def rankings(curves: Curves, pairings: Sequence[Pairing], indicators: Sequence[IndicatorFacts]) -> tuple[Ranking, ...]:
    """All rankings of at least two models: by sense, indicator, setting, then length."""
    teams: dict[tuple[str, tuple[str, str | None]], dict[Subject, None]] = {}
    for pairing in pairings:
        teams.setdefault((pairing.name, pairing.conditions), {}).update(dict.fromkeys(pairing.subjects))

    @cache
    def costs_of(subject: Subject, setting: Setting, metric: IndicatorFacts) -> Mapping[int, Cost]:
        return costs(curves.ok.get((subject, setting), {}), metric)

    return tuple(
        ranking
        for (name, conditions), team in teams.items()
        for metric in indicators
        if metric.varies_with_length
        for setting in dict.fromkeys(at for subject, at in curves.all if subject in team and _meets(at, *conditions))
        for ranking in _rankings(_Team(name, metric, setting, tuple(team), curves, costs_of))
    )


def _meets(setting: Setting, allocator: str, dtype: str | None) -> bool:
    return setting.allocator == allocator and dtype in (None, setting.dtype)


def reigns(ranked: Sequence[Ranking]) -> tuple[Reign, ...]:
    """Who costs least from which measured length to which; `ranked` are those of one setting, shortest length first.

    A length at which a model was left out says nothing, since that model might cost least.
    """
    full = (ranking for ranking in ranked if all(status not in ("skipped", "error") for _, status in ranking.missing))
    runs = [list(run) for _, run in groupby(full, key=lambda ranking: frozenset(ranking.leaders))]
    return tuple(Reign(run[0].length, run[-1].length, run[0].leaders) for run in runs)


@dataclass(frozen=True)
class _Team:
    """Models that are ranked in one indicator and setting."""

    name: str
    indicator: IndicatorFacts
    setting: Setting
    subjects: tuple[Subject, ...]
    curves: Curves
    costs_of: Callable[[Subject, Setting, IndicatorFacts], Mapping[int, Cost]]

    @cached_property
    def records(self) -> Mapping[Subject, Curve]:
        """What became of the cases of each model, by length."""
        return {subject: self.curves.all.get((subject, self.setting), {}) for subject in self.subjects}

    def seconds(self, subject: Subject, length: int) -> float:
        """What was spent on a case."""
        return self.curves.ok[subject, self.setting][length].seconds


def _rankings(team: _Team) -> Iterator[Ranking]:
    every = {subject: team.costs_of(subject, team.setting, team.indicator) for subject in team.subjects}
    for length in sorted({length for known in every.values() for length in known}):
        at = {subject: known[length] for subject, known in every.items() if length in known}
        if len(at) > 1:
            yield _ranking(team, length, at)


def _ranking(team: _Team, length: int, at: Mapping[Subject, Cost]) -> Ranking:
    first, others = _first(length, at)
    places = [Place(first, _value(team, at[first]))]
    for subject, point in sorted(others.items(), key=lambda item: item[1].ratio):
        shown = shown_dearer(point, len(others)) or (team.indicator.exact and point.ratio == 1)
        places.append(Place(subject, _value(team, at[subject]), point, shown))
    missing = []
    for subject in team.subjects:
        record = team.records[subject].get(length)
        if subject not in at and record is not None:
            missing.append((subject, record.status if record.status != "ok" else "none"))
    return Ranking(
        name=team.name,
        indicator=team.indicator,
        setting=team.setting,
        length=length,
        places=tuple(places),
        missing=tuple(missing),
        longer=_longer(team, length, at, places),
    )


def _first(length: int, at: Mapping[Subject, Cost]) -> tuple[Subject, Mapping[Subject, RatioPoint]]:
    """The one that costs least, by its own median unless another is ahead of it round by round; the others by it."""
    first = min(at, key=lambda subject: at[subject].value)
    for _ in at:
        others = _others(length, first, at)
        ahead = min(others, key=lambda subject: others[subject].ratio)
        if others[ahead].ratio >= 1:
            return first, others
        first = ahead
    return first, _others(length, first, at)


def _others(length: int, first: Subject, at: Mapping[Subject, Cost]) -> Mapping[Subject, RatioPoint]:
    """All but one, in units of what that one costs."""
    return {subject: ratio_of(length, cost, at[first]) for subject, cost in at.items() if subject != first}


def _value(team: _Team, cost: Cost) -> float:
    """The figure again; where higher is better the cost is the inverse."""
    return math.exp(-cost.value if team.indicator.better == "higher" else cost.value)


def _longer(team: _Team, length: int, at: Mapping[Subject, Cost], places: Sequence[Place]) -> Longer | None:
    """What would show the order, if the ratios stay what they are: an interval shrinks with the root of the samples."""
    if team.indicator.exact:
        return None
    looks = len(places) - 1
    samples, precision = 0.0, math.inf
    for place in places[1:]:
        if place.shown or place.ratio is None:
            continue
        taken = min(len(at[place.subject].samples), len(at[places[0].subject].samples))
        apart = abs(math.log(place.ratio.ratio))
        if place.ratio.low is None or place.ratio.high is None:
            samples = max(samples, FEWEST)
            continue
        if apart < ALIKE:
            return None
        half = math.log(place.ratio.high / place.ratio.low) / 2
        reached = apart / widening(looks) / math.sqrt(MARGIN)
        samples = max(samples, taken * (half / reached) ** 2)
        precision = min(precision, math.expm1(reached))
    if not samples:
        return None
    count = math.ceil(samples)
    spent = {subject: (team.seconds(subject, length), len(cost.samples)) for subject, cost in at.items()}
    if not all(taken for _, taken in spent.values()):
        return None
    # What is not sampling (loading, warming up, looking at the layers) stays as it is; counting it in errs to the safe
    # side.
    seconds = sum(whole / taken * count for whole, taken in spent.values())
    return Longer(count, min(precision, 1.0), seconds / len(spent), seconds)

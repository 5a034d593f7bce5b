"""Where indicators disagree: two of them order the same models differently, and both orders are shown.

One cost reported alone misleads (Dehghani et al., "The Efficiency Misnomer", ICLR 2022). Of a measured cost an order is
shown where the interval of the ratio, widened for the number of pairs of models (Bonferroni), excludes 1; of a counted
one wherever the figures differ. What is not shown is never called a disagreement.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from pyprof.analysis.curves import Curve, Curves, Setting
from pyprof.analysis.ratio import Cost, RatioPoint, costs, ratio_of, shown_dearer
from pyprof.records.comparison import Pairing, Subject
from pyprof.records.indicator import IndicatorFacts

# Two exact indicators whose ratios differ by less than this are one and the same, in other units: FLOPs and MACs.
_SAME = 1e-9
_NO_FAMILIES: Mapping[str, str] = {}
# At so many lengths of one setting disagreement is looked for.
MOST_LENGTHS = 8


@dataclass(frozen=True)
class Verdict:
    """How many times as much one model costs as another by one indicator, with bounds (None: no interval).

    `shown`: the order is certain; so it is where two counted figures are equal, which the ratio 1 says.
    """

    indicator: IndicatorFacts
    ratio: float
    low: float | None
    high: float | None
    shown: bool


@dataclass(frozen=True)
class Contrast:
    """Two models by all indicators: by which of them `first` is shown to cost less than `second`, and by which more."""

    first: Subject
    second: Subject
    verdicts: tuple[Verdict, ...]

    @property
    def cheaper(self) -> tuple[Verdict, ...]:
        """By these `first` is shown to cost less."""
        return tuple(each for each in self.verdicts if each.shown and each.ratio < 1)

    @property
    def dearer(self) -> tuple[Verdict, ...]:
        """By these `first` is shown to cost more."""
        return tuple(each for each in self.verdicts if each.shown and each.ratio > 1)

    @property
    def reversed(self) -> bool:
        """Whether two indicators are shown to order the two models differently."""
        return bool(self.cheaper and self.dearer)

    @property
    def extent(self) -> float:
        """How far apart the indicators are, as the logarithm of the largest ratio over the least."""
        shown = [math.log(each.ratio) for each in self.verdicts if each.shown]
        return max(shown) - min(shown) if shown else 0.0


@dataclass(frozen=True)
class Concordance:
    """How two indicators order the same models: Kendall's tau-b, 1 for the same order and -1 for the reverse.

    `low` and `high` are what tau can be when every pair whose order is not shown falls one way or the other. None
    where one of the indicators tells no two of the models apart. `reversals` counts the pairs of models whose two
    orders are both shown and differ.
    """

    one: IndicatorFacts
    other: IndicatorFacts
    tau: float | None
    low: float | None
    high: float | None
    pairs: int
    reversals: int
    undecided: int


@dataclass(frozen=True)
class Disagreement:
    """All models of one sense (`then`, `now`) at one length in one setting, by all indicators that all of them have.

    `within` are the concordances over the pairs of models of one family, of all families together, and `between` those
    over the other pairs; both are empty unless two families have two models each.
    """

    name: str
    setting: Setting
    length: int
    subjects: tuple[Subject, ...]
    indicators: tuple[IndicatorFacts, ...]
    contrasts: tuple[Contrast, ...]
    concordances: tuple[Concordance, ...]
    within: tuple[Concordance, ...] = ()
    between: tuple[Concordance, ...] = ()

    @property
    def reversals(self) -> tuple[Contrast, ...]:
        """The pairs of models that change places, those first for which the indicators are farthest apart."""
        return tuple(sorted((each for each in self.contrasts if each.reversed), key=lambda each: -each.extent))


def disagreements(
    curves: Curves,
    pairings: Sequence[Pairing],
    indicators: Sequence[IndicatorFacts],
    families: Mapping[str, str] = _NO_FAMILIES,
) -> tuple[Disagreement, ...]:
    """One for each sense, setting and length at which at least two models have at least two indicators in common.

    `families` maps models to the family that they belong to, those that are of one. Of many lengths there are some, the
    longest among them, as far apart as can be on a logarithmic axis.
    """
    teams: dict[tuple[str, tuple[str, str | None]], dict[Subject, None]] = {}
    for pairing in pairings:
        teams.setdefault((pairing.name, pairing.conditions), {}).update(dict.fromkeys(pairing.subjects))
    found = []
    for (name, (allocator, dtype)), team in teams.items():
        known = _known(curves.only({subject.model for subject in team}), team, indicators)
        for setting, by_length in known.items():
            if setting.allocator != allocator or dtype not in (None, setting.dtype):
                continue
            for length, at in by_length.items():
                one = _disagreement(name, setting, length, at, indicators) if len(at) > 1 else None
                if one is not None:
                    found.append(_with_families(one, families))
    return tuple(found)


def _some(lengths: Sequence[int]) -> list[int]:
    if len(lengths) <= MOST_LENGTHS:
        return list(lengths)
    low, high = math.log(lengths[0]), math.log(lengths[-1])
    targets = (math.exp(low + (high - low) * step / (MOST_LENGTHS - 1)) for step in range(MOST_LENGTHS))
    return sorted({min(lengths, key=lambda length: abs(length - target)) for target in targets})


_Costs = dict[Subject, dict[str, Cost]]


def _known(
    curves: Curves, team: Iterable[Subject], indicators: Sequence[IndicatorFacts]
) -> dict[Setting, dict[int, _Costs]]:
    """Costs by setting, length and model; what is measured at the largest batch stands beside what is at batch 1."""
    wanted = set(team)
    measured: dict[Setting, list[tuple[Subject, Curve]]] = {}
    for (subject, setting), curve in curves.ok.items():
        if subject in wanted:
            measured.setdefault(replace(setting, batch=1), []).append((subject, curve))
    known: dict[Setting, dict[int, _Costs]] = {}
    for setting, parts in measured.items():
        models: dict[int, set[Subject]] = {}
        for subject, curve in parts:
            for length in curve:
                models.setdefault(length, set()).add(subject)
        lengths = _some(sorted(length for length, at in models.items() if len(at) > 1))
        by_length: dict[int, _Costs] = {length: {} for length in lengths}
        for subject, curve in parts:
            chosen = {length: curve[length] for length in lengths if length in curve}
            for indicator in indicators:
                for length, cost in costs(chosen, indicator).items():
                    by_length[length].setdefault(subject, {})[indicator.name] = cost
        known[setting] = by_length
    return known


def _disagreement(
    name: str, setting: Setting, length: int, at: _Costs, indicators: Sequence[IndicatorFacts]
) -> Disagreement | None:
    subjects = tuple(at)
    common = [each for each in indicators if all(each.name in costs_ for costs_ in at.values())]
    common = list(_distinct(common, at))
    if len(common) < 2:
        return None
    pairs = list(combinations(subjects, 2))
    contrasts = tuple(
        Contrast(
            first,
            second,
            tuple(
                _verdict(indicator, length, at[first][indicator.name], at[second][indicator.name], len(pairs))
                for indicator in common
            ),
        )
        for first, second in pairs
    )
    concordances = tuple(concordance(one, other, contrasts) for one, other in combinations(common, 2))
    return Disagreement(name, setting, length, subjects, tuple(common), contrasts, concordances)


def _with_families(found: Disagreement, families: Mapping[str, str]) -> Disagreement:
    """The same with its concordances within families and between them."""
    members = Counter(families[subject.model] for subject in found.subjects if subject.model in families)
    if sum(count > 1 for count in members.values()) < 2:
        return found
    sides: dict[bool, list[Contrast]] = {True: [], False: []}
    for contrast in found.contrasts:
        of = [families.get(subject.model) for subject in (contrast.first, contrast.second)]
        if None not in of:
            sides[of[0] == of[1]].append(contrast)
    within, between = (
        tuple(concordance(one, other, sides[side]) for one, other in combinations(found.indicators, 2))
        for side in (True, False)
    )
    return replace(found, within=within, between=between)


def _distinct(
    indicators: Sequence[IndicatorFacts], at: Mapping[Subject, Mapping[str, Cost]]
) -> Iterator[IndicatorFacts]:
    """Those that say something of their own; of exact ones that are proportional over all models the first."""
    said: list[list[float]] = []
    for indicator in indicators:
        values = [costs_[indicator.name].value for costs_ in at.values()]
        shape = [value - values[0] for value in values]
        if indicator.exact:
            if any(all(abs(a - b) < _SAME for a, b in zip(shape, other, strict=True)) for other in said):
                continue
            said.append(shape)
        yield indicator


def _verdict(indicator: IndicatorFacts, length: int, ours: Cost, theirs: Cost, pairs: int) -> Verdict:
    point = ratio_of(length, ours, theirs)
    if indicator.exact and point.low is not None and abs(math.log(point.ratio)) < _SAME:
        return Verdict(indicator, 1.0, 1.0, 1.0, shown=True)
    shown = shown_dearer(point, pairs) or shown_dearer(_inverse(point), pairs)
    return Verdict(indicator, point.ratio, point.low, point.high, shown)


def _inverse(point: RatioPoint) -> RatioPoint:
    low = None if point.high is None else 1 / point.high
    high = None if point.low is None else 1 / point.low
    return replace(point, ratio=1 / point.ratio, low=low, high=high)


def concordance(one: IndicatorFacts, other: IndicatorFacts, contrasts: Sequence[Contrast]) -> Concordance:
    """Kendall's tau-b of two indicators over the pairs of models (Kendall, Biometrika 33, 1945)."""
    total = low = high = reversals = undecided = 0
    untied = {one.name: 0, other.name: 0}
    for contrast in contrasts:
        by = {each.indicator.name: each for each in contrast.verdicts}
        ours, theirs = by[one.name], by[other.name]
        signs = [_sign(ours.ratio), _sign(theirs.ratio)]
        untied[one.name] += signs[0] != 0
        untied[other.name] += signs[1] != 0
        agree = signs[0] * signs[1]
        total += agree
        if ours.shown and theirs.shown:
            low, high = low + agree, high + agree
            reversals += agree < 0
        else:
            undecided += 1
            low, high = low - 1, high + 1
    whole = math.sqrt(untied[one.name] * untied[other.name])
    if not whole:
        return Concordance(one, other, None, None, None, len(contrasts), reversals, undecided)
    bounds = (max(-1.0, low / whole), min(1.0, high / whole))
    return Concordance(one, other, total / whole, *bounds, len(contrasts), reversals, undecided)


def _sign(ratio: float) -> int:
    return (ratio > 1) - (ratio < 1)

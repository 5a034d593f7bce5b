"""Fronts of one indicator against another: who cannot be beaten in both, who may not be, and who is, by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pyprof.analysis.disagreement import Contrast, Disagreement, Verdict
from pyprof.records.comparison import Subject
from pyprof.records.indicator import IndicatorFacts

Standing = Literal["member", "near", "dominated"]


@dataclass(frozen=True)
class Place:
    """Where a model stands: a `member` of the front; `near` it, where others are ahead and it is not shown; or
    `dominated`, shown to cost at least as much in both and more in one as each of the models in `by`.

    Of a member, `shown` says that no other can be ahead of it in both, whatever the noise.
    """

    subject: Subject
    standing: Standing
    by: tuple[Subject, ...] = ()
    shown: bool = True


@dataclass(frozen=True)
class Front:
    """The models by two indicators (a quality, where higher is better, is one too)."""

    one: IndicatorFacts
    other: IndicatorFacts
    places: tuple[Place, ...]

    @property
    def members(self) -> tuple[Subject, ...]:
        return tuple(place.subject for place in self.places if place.standing == "member")


def front(disagreement: Disagreement, one: IndicatorFacts, other: IndicatorFacts) -> Front:
    """The front of two of the indicators over all models of one length and setting."""
    verdicts = _both_ways(disagreement.contrasts)
    places = tuple(
        _place(subject, disagreement.subjects, verdicts, (one.name, other.name)) for subject in disagreement.subjects
    )
    return Front(one, other, places)


_Verdicts = Mapping[tuple[Subject, Subject], Mapping[str, Verdict]]


def _both_ways(contrasts: Sequence[Contrast]) -> _Verdicts:
    """The verdicts of every ordered pair of models, by indicator."""
    both: dict[tuple[Subject, Subject], dict[str, Verdict]] = {}
    for contrast in contrasts:
        for verdict in contrast.verdicts:
            name = verdict.indicator.name
            both.setdefault((contrast.first, contrast.second), {})[name] = verdict
            turned = Verdict(
                verdict.indicator,
                1 / verdict.ratio,
                None if verdict.high is None else 1 / verdict.high,
                None if verdict.low is None else 1 / verdict.low,
                verdict.shown,
            )
            both.setdefault((contrast.second, contrast.first), {})[name] = turned
    return both


def _place(subject: Subject, every: Sequence[Subject], verdicts: _Verdicts, names: tuple[str, str]) -> Place:
    ahead, certain, possible = [], [], False
    for rival in every:
        if rival == subject:
            continue
        ours = [verdicts[rival, subject][name] for name in names]
        if all(each.ratio <= 1 for each in ours) and any(each.ratio < 1 for each in ours):
            ahead.append(rival)
            if all(each.shown for each in ours):
                certain.append(rival)
        # Ahead in both is ruled out only where the rival is shown to cost more by one of them.
        possible |= not any(each.shown and each.ratio > 1 for each in ours) and not all(
            each.shown and each.ratio == 1 for each in ours
        )
    if certain:
        return Place(subject, "dominated", tuple(certain))
    if ahead:
        return Place(subject, "near", tuple(ahead), shown=False)
    return Place(subject, "member", shown=not possible)

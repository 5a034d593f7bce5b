"""The plan of a study: its comparisons and cases, and which of them to measure next.

Planning is pure: it sees the study, the records so far and predicted costs, and measures nothing. Cases are taken in
groups, the models of one comparison at one length and in one mode: these are timed in the same rounds, so that a change
of the machine's speed hits them alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from pyprof.analysis.ratio import RatioPoint, ratio_point
from pyprof.analysis.refine import coarse, needs_refinement
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.records.case import Batch, Case, Mode
from pyprof.records.comparison import Pairing, Subject
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.records.study import Lengths, Study
from pyprof.study.prediction import Prediction


class Stage(IntEnum):
    """Why a group is measured, in the order in which groups are taken where there is a time budget.

    A budget can end a run at any group, so the order is that of what a reader would miss most. The shortest length
    costs least and gives every model a figure, from which all later costs are predicted. The tipping point is what a
    study is made for, so its bracket is next; where none is predicted, only the longest length can prove that wrong.
    To narrow a crossing is worth the time once it is bracketed, and the rest fills in the curves.
    """

    SHORTEST = 0
    BRACKET = 1
    LONGEST = 2
    CROSSING = 3
    REST = 4


@dataclass(frozen=True)
class Group:
    """Cases to be measured together; `pairs` are those of each pairing that are still to be measured."""

    stage: Stage
    pairs: tuple[tuple[Case, ...], ...]

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        return tuple(dict.fromkeys(case for pair in self.pairs for case in pair))

    def fitting(self, prediction: Prediction, seconds: float) -> tuple[Case, ...]:
        """The cases that can be measured within some seconds: pair by pair, because half a pair compares nothing."""
        chosen: tuple[Case, ...] = ()
        for pair in self.pairs:
            more = tuple(dict.fromkeys((*chosen, *pair)))
            if sum(prediction.together(more).values()) <= seconds:
                chosen = more
        return chosen


@dataclass(frozen=True)
class _Spot:
    """Where a group stands: in one block, mode, kind of batch and kind of process, at one length."""

    block: int
    mode: Mode
    batch: Batch
    length: int
    allocator: str


@dataclass(frozen=True)
class _Series:
    """One pairing in one mode: its lengths, and the batch and the indicators that one case gives."""

    pairing: Pairing
    lengths: Lengths
    mode: Mode
    batch: Batch
    indicators: tuple[IndicatorFacts, ...]


@dataclass(frozen=True)
class _Wish:
    """The cases of a pairing that are wanted at a spot."""

    spot: _Spot
    pair: tuple[Case, ...]


_Groups = dict[tuple[_Spot, Stage], list[tuple[Case, ...]]]


class Plan:
    """Chooses what to measure next.

    With a time budget, the shortest length comes first in every mode. Then, in inference, come the two lengths between
    which the latencies are predicted to cross, again until the prediction is confirmed; the longest length, where they
    are predicted not to cross; and what else narrows a crossing. Then comes everything else by predicted cost, so that
    long training steps come last. Without a budget everything comes by predicted cost.

    `settled`, which the methods take, holds the keys of the cases that are not to be proposed for now: measured, failed
    or known to fail, or left out because their predicted time exceeds what is left. The caller keeps it and not the
    plan, since a case that was left out is tried again once predictions have improved.
    """

    def __init__(self, study: Study, resolved: Resolved, device: str) -> None:
        self.study = study
        self._device = device
        self._hurried = study.time_budget is not None
        self._cases: dict[tuple[Subject, _Spot], Case] = {}
        self._series = [
            _Series(pairing, study.blocks[pairing.block].lengths, mode, batch, indicators)
            for pairing in resolved.pairings
            for mode in study.modes
            for batch, indicators in _batches(resolved.indicators, mode)
        ]
        self._fixed = [wish for series in self._series for wish in self._wishes(series, self._fixed_lengths(series))]

    @property
    def adapts(self) -> bool:
        """Whether what is measured changes what is measured next."""
        return self._hurried or any(series.lengths.auto for series in self._series)

    def next(self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction) -> Group | None:
        """The next group, or None where nothing is left but what is settled; `records` are by key."""
        groups = self._groups(records, settled, prediction)
        if not groups:
            return None
        first = min(groups, key=_ranks(groups, prediction).__getitem__)
        return Group(first[1], tuple(groups[first]))

    def all(self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction) -> tuple[Group, ...]:
        """All groups that are known to be wanted now, in their order."""
        groups = self._groups(records, settled, prediction)
        ordered = sorted(groups, key=_ranks(groups, prediction).__getitem__)
        return tuple(Group(place[1], tuple(groups[place])) for place in ordered)

    def outstanding(self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction) -> tuple[Case, ...]:
        """All cases that are known to be wanted now and are not settled; with automatic lengths more may follow."""
        cases = (case for wish, _ in self._wanted(records, prediction) for case in wish.pair)
        return tuple(dict.fromkeys(case for case in cases if case.key not in settled))

    def _groups(self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction) -> _Groups:
        # The plan is asked again after every group, so what is measured leaves the list, or each call would go through
        # the whole grid. Cases that are merely settled stay in it, since those that were left out may come back.
        self._fixed = [(wish, stage) for wish, stage in self._fixed if not _is_measured(wish, records)]
        stages: dict[_Wish, Stage] = {}
        for wish, stage in self._wanted(records, prediction):
            if any(case.key not in settled for case in wish.pair):
                stages[wish] = min(stage, stages.get(wish, stage))
        groups: _Groups = {}
        for wish, stage in stages.items():
            pair = tuple(case for case in wish.pair if case.key not in settled)
            groups.setdefault((wish.spot, stage), []).append(pair)
        return groups

    def _wanted(self, records: Mapping[str, Record], prediction: Prediction) -> Iterator[tuple[_Wish, Stage]]:
        yield from self._fixed
        for series in self._series:
            if series.pairing.variant is None:
                continue
            if self._is_urgent(series):
                yield from self._wishes(series, self._bracket(series, records, prediction))
            if series.lengths.auto or self._hurried:
                yield from self._wishes(series, self._crossing_lengths(series, records))

    def _is_urgent(self, series: _Series) -> bool:
        return (
            self._hurried
            and series.mode == "infer"
            and any(indicator.name == LATENCY.name for indicator in series.indicators)
        )

    def _wishes(self, series: _Series, lengths: Iterator[tuple[int, Stage]]) -> Iterator[tuple[_Wish, Stage]]:
        for length, stage in lengths:
            spot = _Spot(series.pairing.block, series.mode, series.batch, length, series.pairing.allocator)
            yield _Wish(spot, tuple(self._case(subject, spot) for subject in series.pairing.subjects)), stage

    def _fixed_lengths(self, series: _Series) -> Iterator[tuple[int, Stage]]:
        """The lengths that are wanted whatever is measured."""
        lengths = series.lengths
        for length in coarse(lengths.values, period=series.pairing.period) if lengths.auto else lengths.values:
            first = self._hurried and series.batch == 1 and length == lengths.values[0]
            yield length, Stage.SHORTEST if first else Stage.REST

    def _bracket(
        self, series: _Series, records: Mapping[str, Record], prediction: Prediction
    ) -> Iterator[tuple[int, Stage]]:
        """The neighbouring lengths between which the variant's latency is predicted to fall below the vanilla model's.

        Where it is predicted to stay above, it is the longest length, which may prove that wrong. From one length
        alone a time cannot be split into what grows like the tokens and what grows like the operations, and so not be
        predicted at other lengths. The second shortest, the cheapest that adds this, is therefore measured first.
        """
        pairing, lengths = series.pairing, series.lengths.values
        if len(self._ratios(series, LATENCY, records)) < 2:
            yield lengths[min(1, len(lengths) - 1)], Stage.BRACKET
            return
        cheaper = []
        for length in lengths:
            spot = _Spot(pairing.block, series.mode, series.batch, length, series.pairing.allocator)
            vanilla, variant = (prediction.step_seconds(self._case(subject, spot)) for subject in pairing.subjects)
            cheaper.append(variant < vanilla)
        places = [after for after in range(1, len(lengths)) if cheaper[after] and not cheaper[after - 1]]
        if not cheaper[-1]:
            yield lengths[-1], Stage.LONGEST
        elif places:
            yield lengths[places[-1] - 1], Stage.BRACKET
            yield lengths[places[-1]], Stage.BRACKET

    def _crossing_lengths(self, series: _Series, records: Mapping[str, Record]) -> Iterator[tuple[int, Stage]]:
        """The lengths that narrow a crossing of what is measured so far, one for each indicator that has a curve."""
        lengths = series.lengths
        urgent = self._is_urgent(series)
        for indicator in series.indicators:
            points = self._ratios(series, indicator, records) if indicator.varies_with_length else []
            if len(points) < 2:
                continue
            tolerance = lengths.tolerance if lengths.auto else 0
            following = needs_refinement(points, lengths.values, tolerance, series.pairing.period)
            if following is not None:
                yield following, Stage.CROSSING if urgent and indicator.name == LATENCY.name else Stage.REST

    def _ratios(self, series: _Series, indicator: IndicatorFacts, records: Mapping[str, Record]) -> list[RatioPoint]:
        pairing, points = series.pairing, []
        for length in series.lengths.values:
            spot = _Spot(pairing.block, series.mode, series.batch, length, series.pairing.allocator)
            readings = [_reading(records, self._case(subject, spot), indicator) for subject in pairing.subjects]
            vanilla, variant = readings[0], readings[-1]
            if vanilla is not None and variant is not None:
                point = ratio_point(length, variant, vanilla, indicator)
                points += [] if point is None else [point]
        return points

    def _case(self, subject: Subject, spot: _Spot) -> Case:
        case = self._cases.get((subject, spot))
        if case is None:
            case = Case(
                model=subject.model,
                length=spot.length,
                mode=spot.mode,
                attention=subject.attention,
                size=self.study.size,
                batch=spot.batch,
                dtype=self.study.dtype,
                device=self._device,
                compiled=self.study.compiled,
                weights=subject.weights,
                allocator=spot.allocator,
            )
            self._cases[subject, spot] = case
        return case


def _ranks(groups: _Groups, prediction: Prediction) -> Mapping[tuple[_Spot, Stage], tuple[Stage, float, int, int]]:
    """What comes first: by stage, then by the mean cost of a case.

    The brackets of a block are ranked by what they cost together. One end of a bracket does not show that the latencies
    cross; ranked by its own cost, the cheap end of every bracket would come before the dear end of any, and a time
    budget that ends in between would leave no crossing bracketed at all.
    """
    costs, brackets = {}, defaultdict[int, float](float)
    for (spot, stage), pairs in groups.items():
        seconds = prediction.together(tuple(dict.fromkeys(case for pair in pairs for case in pair)))
        costs[spot, stage] = sum(seconds.values()) / len(seconds)
        if stage == Stage.BRACKET:
            brackets[spot.block] += sum(seconds.values())
    return {
        (spot, stage): (stage, brackets[spot.block] if stage == Stage.BRACKET else cost, spot.block, spot.length)
        for (spot, stage), cost in costs.items()
    }


def _is_measured(wish: _Wish, records: Mapping[str, Record]) -> bool:
    return all(case.key in records and records[case.key].status == "ok" for case in wish.pair)


def _batches(indicators: Iterable[IndicatorFacts], mode: Mode) -> Iterator[tuple[Batch, tuple[IndicatorFacts, ...]]]:
    """The kinds of batches that a mode's indicators need, one example first, with the indicators that each gives."""
    groups: dict[Batch, list[IndicatorFacts]] = {}
    for indicator in indicators:
        if mode in indicator.modes:
            groups.setdefault(indicator.batch, []).append(indicator)
    for batch in sorted(groups, key=lambda batch: batch == "largest"):
        yield batch, tuple(groups[batch])


def _reading(records: Mapping[str, Record], case: Case, indicator: IndicatorFacts) -> Reading | None:
    record = records.get(case.key)
    return None if record is None or record.status != "ok" else record.indicators.get(indicator.name)

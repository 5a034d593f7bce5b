"""The plan of a study: its comparisons and cases, and which of them to measure next.

Planning is pure: it sees the study, the records so far and predicted costs, and measures nothing. Cases are taken in
groups, the models of one comparison at one length and in one mode: these are timed in the same rounds, so that a change
of the machine's speed hits them alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from pyprof.analysis.ratio import RatioPoint, ratio_point
from pyprof.analysis.refine import coarse, needs_refinement
from pyprof.analysis.tipping import ANSWERED, find_tipping
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.records.case import Batch, Case, Mode
from pyprof.records.comparison import Pairing, Subject
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.records.study import Study
from pyprof.records.study_parts import Lengths
from pyprof.study.groups import Group, Groups, Spot, Stage, families, ranks
from pyprof.study.prediction import Prediction

# Of the rest, as many hundredths of what is left are taken in one order before the plan is asked again.
REST_SHARE = 100

# A predicted ratio below this is far enough from 1 to be shown, most likely.
CLEARLY = 0.95


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

    spot: Spot
    pair: tuple[Case, ...]


class Plan:
    """Chooses what to measure next.

    With a time budget, inference comes first: the shortest length, then the two lengths between which the latencies are
    predicted to cross, again until the prediction is confirmed, or the longest length where they are predicted not to
    cross. Then training gets the shortest length and the first one at which the variant is predicted to cost less, the
    comparisons that take the least time first. What narrows a crossing follows, then everything else by predicted cost,
    so that long training steps come last. Without a budget everything comes by predicted cost.

    `settled`, which the methods take, holds the keys of the cases that are not to be proposed for now: measured, failed
    or known to fail, or left out because their predicted time exceeds what is left. The caller keeps it and not the
    plan, since a case that was left out is tried again once predictions have improved.
    """

    def __init__(self, study: Study, resolved: Resolved, device: str) -> None:
        self.study = study
        self._device = device
        self._hurried = study.time_budget is not None
        self._cases: dict[tuple[Subject, Spot], Case] = {}
        self._families = families(resolved.pairings)
        # The predicted seconds of all lengths that answer a pair, by block and the pair apart from its length.
        self._needs = defaultdict[tuple[int, tuple[Case, ...]], float](float)
        self._series = [
            _Series(pairing, study.blocks[pairing.block].lengths, mode, batch, indicators)
            for pairing in resolved.pairings
            for mode in study.modes
            for batch, indicators in _batches(resolved.indicators, mode)
        ]
        self._fixed = [wish for series in self._series for wish in self._wishes(series, self._fixed_lengths(series))]
        self._first = [(wish, stage) for wish, stage in self._fixed if stage != Stage.REST]
        self._pairs: dict[tuple[int, Mode, Batch], dict[str, tuple[Case, Case]]] = {}

    def groups(self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction) -> Iterator[Group]:
        """The groups one by one, until nothing is left but what is settled; `records` and `settled` are to grow.

        Where nothing is adapted to what is measured, the first order holds. Else the plan is asked again after each
        group, but for those of the rest, whose order is that of their costs: what is left out changes nothing, and of
        thousands a hundredth is taken before their costs are looked at anew.
        """
        if not self._hurried and not any(series.lengths.auto for series in self._series):
            yield from self.all(records, settled, prediction)
            return
        while (group := self.next(records, settled, prediction)) is not None:
            yield group
            if group.stage != Stage.REST:
                continue
            following = self.all(records, settled, prediction)
            most = len(records) + len(following) // REST_SHARE
            for group in following:
                if group.stage != Stage.REST or len(records) > most:
                    break
                left = tuple(tuple(case for case in pair if case.key not in settled) for pair in group.pairs)
                if any(left):
                    yield replace(group, pairs=tuple(filter(None, left)))

    def next(self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction) -> Group | None:
        """The next group, or None where nothing is left but what is settled; `records` are by key."""
        groups = self._groups(records, settled, prediction, rest=False)
        if all(stage == Stage.REST for _, stage in groups):
            groups = self._groups(records, settled, prediction)
        if not groups:
            return None
        # Only those of the first stage compete: a study may have ten thousand lengths, and nearly all are of the last.
        stage = min(stage for _, stage in groups)
        first = {place: pairs for place, pairs in groups.items() if place[1] == stage}
        return self._group(min(first, key=ranks(first, prediction).__getitem__), groups)

    def all(self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction) -> tuple[Group, ...]:
        """All groups that are known to be wanted now, in their order."""
        groups = self._groups(records, settled, prediction)
        ordered = sorted(groups, key=ranks(groups, prediction).__getitem__)
        return tuple(self._group(place, groups) for place in ordered)

    def _group(self, place: tuple[Spot, Stage], groups: Groups) -> Group:
        spot, stage = place
        needs = [self._needs.get((spot.block, _kinds(pair)), 0.0) for pair in groups[place]]
        return Group(stage, tuple(groups[place]), tuple(needs) if stage == Stage.ANSWER else (), self._curve(spot))

    def _curve(self, spot: Spot) -> Spot:
        """What stays with one kind of device: a curve over length, and those of blocks that share a model with it."""
        return replace(spot, length=1, block=self._families[spot.block])

    def outstanding(self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction) -> tuple[Case, ...]:
        """All cases that are known to be wanted now and are not settled; with automatic lengths more may follow."""
        cases = (case for wish, _ in self._wanted(records, prediction) for case in wish.pair)
        return tuple(dict.fromkeys(case for case in cases if case.key not in settled))

    def _groups(
        self, records: Mapping[str, Record], settled: Set[str], prediction: Prediction, *, rest: bool = True
    ) -> Groups:
        """What is wanted, with or without what is of the last stage whatever has been measured."""
        # The plan is asked again after every group, so what is measured leaves the list, or each call would go through
        # the whole grid. Cases that are merely settled stay in it, since those that were left out may come back.
        if rest:
            self._fixed = [(wish, stage) for wish, stage in self._fixed if not _is_measured(wish, records)]
        stages: dict[_Wish, Stage] = {}
        self._needs.clear()
        for wish, stage in self._wanted(records, prediction, rest):
            if stage == Stage.ANSWER:
                # Also what was left out for now: without it there is no answer.
                self._needs[wish.spot.block, _kinds(wish.pair)] += sum(prediction.together(wish.pair).values())
            if any(case.key not in settled for case in wish.pair):
                stages[wish] = min(stage, stages.get(wish, stage))
        groups: Groups = {}
        for wish, stage in stages.items():
            pair = tuple(case for case in wish.pair if case.key not in settled)
            groups.setdefault((wish.spot, stage), []).append(pair)
        return groups

    def _wanted(
        self, records: Mapping[str, Record], prediction: Prediction, rest: bool = True
    ) -> Iterator[tuple[_Wish, Stage]]:
        yield from self._fixed if rest else self._first
        for series in self._series:
            if series.pairing.variant is None:
                continue
            if self._is_urgent(series):
                yield from self._wishes(series, self._bracket(series, records, prediction))
            elif self._hurried and self._times(series):
                yield from self._wishes(series, self._answering(series, records, prediction))
            if series.lengths.auto or self._hurried:
                yield from self._wishes(series, self._crossing_lengths(series, records))

    def _is_urgent(self, series: _Series) -> bool:
        return self._hurried and series.mode == "infer" and self._times(series)

    def _times(self, series: _Series) -> bool:
        return any(indicator.name == LATENCY.name for indicator in series.indicators)

    def _wishes(self, series: _Series, lengths: Iterator[tuple[int, Stage]]) -> Iterator[tuple[_Wish, Stage]]:
        for length, stage in lengths:
            spot = self._spot(series, length)
            yield _Wish(spot, tuple(self._case(subject, spot) for subject in series.pairing.subjects)), stage

    def _fixed_lengths(self, series: _Series) -> Iterator[tuple[int, Stage]]:
        """The lengths that are wanted whatever is measured."""
        lengths = series.lengths
        for length in coarse(lengths.values, period=series.pairing.period) if lengths.auto else lengths.values:
            first = self._is_urgent(series) and length == lengths.values[0]
            yield length, Stage.SHORTEST if first else Stage.REST

    def _bracket(
        self, series: _Series, records: Mapping[str, Record], prediction: Prediction
    ) -> Iterator[tuple[int, Stage]]:
        """The neighbouring lengths between which the variant's latency is predicted to fall below the vanilla model's.

        Where it is predicted to stay above, it is the longest length, which may prove that wrong. From one length
        alone a time cannot be split into what grows like the tokens and what grows like the operations, and so not be
        predicted at other lengths. The second shortest, the cheapest that adds this, is therefore measured first.
        """
        lengths = series.lengths.values
        if len(self._ratios(series, LATENCY, records)) < 2:
            yield lengths[min(1, len(lengths) - 1)], Stage.BRACKET
            return
        cheaper = [ratio < 1 for ratio in self._predicted_ratios(series, prediction)]
        places = [after for after in range(1, len(lengths)) if cheaper[after] and not cheaper[after - 1]]
        if not cheaper[-1]:
            yield lengths[-1], Stage.LONGEST
        elif places:
            yield lengths[places[-1] - 1], Stage.BRACKET
            yield lengths[places[-1]], Stage.BRACKET

    def _answering(
        self, series: _Series, records: Mapping[str, Record], prediction: Prediction
    ) -> Iterator[tuple[int, Stage]]:
        """The fewest lengths that tell where a tipping point is: the shortest, and one where the variant costs less.

        That is the first at which it costs clearly less in inference, whose times are known by then and whose ratio is
        much the same. Where there is none, the second shortest tells at least that it does not up to there. What noise
        leaves undecided goes on with the next longer length.
        """
        lengths, points = series.lengths.values, self._ratios(series, LATENCY, records)
        measured = {point.length for point in points}
        if find_tipping(points).status in ANSWERED:
            return
        if lengths[0] not in measured:
            yield lengths[0], Stage.ANSWER
        known = replace(series, mode="infer") if "infer" in self.study.modes else series
        ratios = self._predicted_ratios(known, prediction)
        clearly = [length for length, ratio in zip(lengths, ratios, strict=True) if ratio < CLEARLY]
        upper = max(clearly[0] if clearly else 0, lengths[min(1, len(lengths) - 1)])
        following = [length for length in lengths if length >= upper and length not in measured]
        yield from ((length, Stage.ANSWER) for length in following[:1])

    def _predicted_ratios(self, series: _Series, prediction: Prediction) -> list[float]:
        """The variant's latency by the vanilla model's, at every length."""
        pairs = self._pairs_of(series).values()
        return [prediction.step_seconds(variant) / prediction.step_seconds(vanilla) for vanilla, variant in pairs]

    def decided(self, case: Case, records: Mapping[str, Record]) -> bool:
        """Whether everything that the case is compared for has its answer without it."""
        return all(
            series.pairing.variant is not None
            and all(
                find_tipping(self._ratios(series, indicator, records)).status in ANSWERED
                for indicator in _deciding(series)
            )
            for series in self._series
            if case.mode == series.mode and case.batch == series.batch and self._holds(series, case)
        )

    def _holds(self, series: _Series, case: Case) -> bool:
        pairing = series.pairing
        if case.length not in series.lengths.values:
            return False
        spot = self._spot(series, case.length)
        return any(self._case(subject, spot) == case for subject in pairing.subjects)

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
        points, pairs = [], self._pairs_of(series)
        # A study may have ten thousand lengths, of which few are measured.
        measured = [pairs[key] for key in records if key in pairs] if len(records) < len(pairs) else pairs.values()
        for pair in sorted(measured, key=lambda pair: pair[0].length):
            vanilla, variant = (_reading(records, case, indicator) for case in pair)
            # Figures of unlike devices never meet in a ratio.
            if vanilla is not None and variant is not None and _of_one_environment(records, pair):
                point = ratio_point(pair[0].length, variant, vanilla, indicator)
                points += [] if point is None else [point]
        return points

    def _pairs_of(self, series: _Series) -> Mapping[str, tuple[Case, Case]]:
        """The vanilla model's and the variant's case at every length, by the key of the former."""
        pairing = series.pairing
        place = id(pairing), series.mode, series.batch
        if place not in self._pairs:
            pairs = {}
            for length in series.lengths.values:
                spot = self._spot(series, length)
                vanilla, variant = (self._case(pairing.subjects[end], spot) for end in (0, -1))
                pairs[vanilla.key] = vanilla, variant
            self._pairs[place] = pairs
        return self._pairs[place]

    def _spot(self, series: _Series, length: int) -> Spot:
        pairing = series.pairing
        dtype = self.study.dtype if pairing.dtype is None else pairing.dtype
        return Spot(pairing.block, series.mode, series.batch, length, pairing.allocator, dtype)

    def _case(self, subject: Subject, spot: Spot) -> Case:
        case = self._cases.get((subject, spot))
        if case is None:
            case = Case(
                model=subject.model,
                length=spot.length,
                mode=spot.mode,
                attention=subject.attention,
                size=self.study.size,
                batch=spot.batch,
                dtype=spot.dtype,
                device=self._device,
                compiled=self.study.compiled,
                weights=subject.weights,
                allocator=spot.allocator,
                launch=subject.launch,
                optimizer=subject.optimizer,
                ranks=self.study.ranks_of(subject.model),
            )
            self._cases[subject, spot] = case
        return case


def _kinds(pair: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases of a pair apart from their length."""
    return tuple(replace(case, length=1) for case in pair)


def _deciding(series: _Series) -> Sequence[IndicatorFacts]:
    """The indicators whose tipping points a reader looks at first; all of them where none is a headline."""
    varying = [indicator for indicator in series.indicators if indicator.varies_with_length]
    return [indicator for indicator in varying if indicator.headline] or varying


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


def _of_one_environment(records: Mapping[str, Record], pair: Sequence[Case]) -> bool:
    return len({records[case.key].environment for case in pair}) == 1


def _reading(records: Mapping[str, Record], case: Case, indicator: IndicatorFacts) -> Reading | None:
    record = records.get(case.key)
    return None if record is None or record.status != "ok" else record.indicators.get(indicator.name)

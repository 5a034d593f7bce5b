"""What a case will cost to measure, in seconds: from floating-point operations first, then from what was measured.

A step's time is the model's work at that length over a rate. The rate is that of the same model, implementation and
mode where it was measured already, else that of its nearest relative, else a guess for the machine.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyprof import device as devices
from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.indicators.peak_memory import INDICATOR as PEAK_MEMORY
from pyprof.models import registry
from pyprof.records.case import Case, Mode
from pyprof.records.record import Record
from pyprof.records.study import Study
from pyprof.records.study_parts import Care
from pyprof.study.trained import trained
from pyprof.worker.batch_search import BATCH_LIMIT, ROOMY_SHARE

# One forward and backward step has about three times the work of a forward step.
TRAIN_FACTOR = 3.0
# No step is shorter than its launches, whatever the work.
SHORTEST_STEP = 2e-3
# The tiny sizes have about this share of the base size's work.
TINY_SHARE = 1 / 500
# One more token after as many as the length says.
GENERATE: Mode = "generate"
# A model without a known work function is taken for a transformer of the base size: 2 x 85 M operations for each unit.
UNKNOWN_WORK_PER_UNIT = 170e6
# Seconds around the steps of a case: building and loading a model once, then inputs, probes and the disk.
BUILD_SECONDS = 2.5
CASE_SECONDS = 0.3
# A fresh process loads torch and transformers before it confirms a batch.
FRESH_PROCESS_SECONDS = 10.0
# Beside its samples a case takes a warm-up step and one that is looked at.
OTHER_STEPS = 2
# In a batch an example takes about this share of the time of a step by itself.
BATCHED_SHARE = 0.25
# Two lengths that are nearer than this (a logarithm) would carry their noise far.
APART = math.log(1.25)
# How fast the expected number of samples follows the last case's.
LEARNING = 0.2
# Where nothing bounds the batch, this is the guess that its cost is predicted with.
UNKNOWN_BATCH = 16

# Model, implementation, mode, dtype, launch and optimizer.
_Curve = tuple[str, str, Mode, str, str, str]


@dataclass(frozen=True)
class _Known:
    """One measured length: the seconds of a step, its operations, and its tokens (or what grows like them)."""

    seconds: float
    work: float
    tokens: float

    @property
    def pace(self) -> float:
        return self.seconds / self.work


@dataclass
class _Measured:
    """What is known of one curve, by length.

    A study may have ten thousand lengths, each of which is predicted after every other one was measured: so the lengths
    are kept in order, and only those around are looked at.
    """

    points: dict[int, _Known] = field(default_factory=dict)
    _lengths: list[int] = field(default_factory=list)

    def add(self, length: int, known: _Known) -> None:
        """Learn what was measured at a length."""
        if length not in self.points:
            insort(self._lengths, length)
        self.points[length] = known

    def nearest(self, length: int) -> int:
        """The measured length that is nearest by its ratio; the shorter of two that are equally near."""
        at = bisect_left(self._lengths, length)
        return min(self._lengths[max(at - 1, 0) : at + 1], key=lambda each: abs(math.log(each / length)))

    def seconds(self, length: int, work: float, tokens: float) -> float:
        """The seconds of a step at any length.

        From two measured lengths, time is a sum of a part that grows like the tokens and one that grows like the
        operations. One term would not do: short inputs spend their time in projections and feedforward layers, long
        ones in dense attention, which may run at quite another pace, so that the pace at one length misleads at
        another. Where time would then not grow with the operations, the noise exceeds what the two lengths can tell
        apart, and time goes with the operations at the nearest length's pace. So it does where operations grow like
        the tokens, as the two terms are then one.
        """
        near = self.nearest(length)
        first, second = self.points[near], self._partner(near, length)
        if second is not None:
            determinant = first.tokens * second.work - second.tokens * first.work
            if abs(determinant) > 1e-6 * first.tokens * second.work:
                by_tokens = (first.seconds * second.work - second.seconds * first.work) / determinant
                by_work = (first.tokens * second.seconds - second.tokens * first.seconds) / determinant
                seconds = by_tokens * tokens + by_work * work
                if by_work >= 0 and seconds > 0:
                    return seconds
        return first.pace * work

    def _partner(self, near: int, length: int) -> _Known | None:
        """The second length to judge by: the nearest on the other side, or else the nearest that is far enough off."""
        lengths = self._lengths
        at = bisect_left(lengths, length)
        chosen = [] if near == length else lengths[at : at + 1] if near < length else lengths[max(at - 1, 0) : at]
        if not chosen:
            below = bisect_right(lengths, -APART, key=lambda each: math.log(each / near))
            above = bisect_left(lengths, APART, key=lambda each: math.log(each / near))
            apart = [*lengths[max(below - 1, 0) : below], *lengths[above : above + 1]]
            chosen = [min(apart, key=lambda each: abs(math.log(each / length)))] if apart else []
        return self.points[chosen[0]] if chosen else None


@dataclass
class Prediction:
    """Predicts the seconds of cases of one study, and learns from its records.

    `rate` is in floating-point operations per second; None takes the device's guess for that many threads. Raises
    UsageError for an unknown kind of device.
    """

    study: Study
    threads: int = 1
    device: str = "cpu"
    rate: float | None = None
    _measured: dict[_Curve, _Measured] = field(default_factory=dict)
    _extra: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    _around: dict[bool, float] = field(
        default_factory=lambda: {True: CASE_SECONDS, False: CASE_SECONDS + BUILD_SECONDS}
    )
    _known: dict[_Curve, dict[int, float]] = field(default_factory=dict)
    # The share of the samples beyond the fewest that a case needs for its precision: all of them until told otherwise.
    _beyond: float = 1.0
    _peaks: dict[tuple[_Curve, int], float] = field(default_factory=dict)
    # Of a training, the share of the time that as many steps of one example take: what it took, once that is known.
    _trained: list[float] = field(default_factory=lambda: [BATCHED_SHARE])

    def __post_init__(self) -> None:
        # How many examples models see that are trained at a length.
        self._examples: dict[int, int] = {}
        training, size = self.study.training, self.study.size
        self._qualities = trained(self.study.metrics)
        for each in self._qualities:
            if each.length is not None and each.examples is not None:
                length = each.length(training, size)
                self._examples[length] = self._examples.get(length, 0) + each.examples(training, size)
        self._first_rate = devices.of(self.device).guessed_rate(self.threads) if self.rate is None else self.rate

    def seconds(self, case: Case) -> float:
        """How long measuring the case by itself takes, set-up included."""
        return self.together((case,))[case]

    def together(self, cases: Sequence[Case]) -> Mapping[Case, float]:
        """How long each of the cases takes when they are measured together: they share rounds and the time for them."""
        steps = {case: case.batch * self.step_seconds(case) for case in cases if case.batch != "largest"}
        samples = self._samples(statistics.fmean(steps.values())) if steps else 0.0
        costs = {
            case: self._set_up(case) + step * (OTHER_STEPS + samples) + self._training_seconds(case)
            for case, step in steps.items()
        }
        return costs | {case: self._search_seconds(case) for case in cases if case not in costs}

    def _set_up(self, case: Case) -> float:
        around = self._around[_curve(case) in self._measured]
        if case.mode == GENERATE:
            # Its cache is filled before.
            examples = UNKNOWN_BATCH if case.batch == "largest" else case.batch
            around += examples * self.step_seconds(replace(case, mode="prefill", batch=1))
        return around

    def _training_seconds(self, case: Case) -> float:
        """What the trainings take that are judged at the case's length."""
        examples = self._examples.get(case.length, 0) if case.mode == "train" else 0
        if not examples:
            return 0.0
        seconds = examples * self.step_seconds(case) * statistics.median(self._trained)
        training = self.study.training
        most = math.inf if training.budget is None else training.budget * training.seeds * (1 + training.control)
        return min(seconds, most)

    def _search_seconds(self, case: Case) -> float:
        """What finding and timing the largest batch takes."""
        batch, step = self._largest_batch(case), self.step_seconds(case)
        confirmed = batch * step * (OTHER_STEPS + self._samples(batch * step))
        # The search for the best batch measures sizes that sum to twice the largest, for as long as a case may sample.
        searched = min(2 * batch * step * (OTHER_STEPS + 1), self.study.care.max_seconds + batch * step)
        fresh = 0.0 if self._is_roomy(case, batch) else BUILD_SECONDS + FRESH_PROCESS_SECONDS
        return self._set_up(case) + fresh + confirmed + searched

    def _is_roomy(self, case: Case, batch: int) -> bool:
        """Whether the search's limit ends it so far below the budget that no fresh process is needed."""
        peak, budget = self._peaks.get((_curve(case), case.length)), self.study.memory_budget
        limited = batch == (self.study.batch_limit or BATCH_LIMIT)
        return limited and peak is not None and budget is not None and batch * peak <= ROOMY_SHARE * budget

    def step_seconds(self, case: Case) -> float:
        """The time of one step of one example."""
        known = self._known.setdefault(_curve(case), {})
        if case.length not in known:
            known[case.length] = max(SHORTEST_STEP, self._predicted(case))
        return known[case.length]

    def observe(self, record: Record) -> None:
        """Learn from a record that is ok."""
        if record.status != "ok":
            return
        case, latency = record.case, record.indicators.get(LATENCY.name)
        seconds = latency.value if latency is not None else record.step_seconds
        if case.batch != 1 or seconds is None:
            return
        curve = _curve(case)
        count = len(latency.samples) if latency is not None else 0
        rounds = None if latency is None else latency.rounds
        cut_short = rounds is not None and rounds.stopped_by in ("samples", "time")
        self._learn_samples(seconds, math.inf if cut_short else count)
        around = max(0.0, record.seconds - seconds * (count + OTHER_STEPS) - self._learn_training(record, seconds))
        built = curve in self._measured
        insort(self._extra[built], around)  # the median of a list in order is quickly found
        self._around[built] = statistics.median(self._extra[built])
        size = self._size(curve, case.length)
        self._measured.setdefault(curve, _Measured()).add(case.length, _Known(seconds, *size))
        # What is known of other measured curves does not depend on this one; all else may.
        self._known = {
            other: known for other, known in self._known.items() if other in self._measured and other != curve
        }
        peak = record.indicators.get(PEAK_MEMORY.name)
        if peak is not None and peak.value is not None:
            self._peaks[curve, case.length] = peak.value

    def _learn_training(self, record: Record, step: float) -> float:
        """Learn from what a case's trainings took; the seconds of all of them."""
        spent, examples = 0.0, 0.0
        for each in self._qualities:
            reading = record.indicators.get(each.name)
            detail = {} if reading is None else reading.detail
            took, seen = detail.get("seconds"), detail.get("examples")
            if isinstance(took, float | int) and isinstance(seen, float | int):
                spent, examples = spent + took, examples + seen
        if examples > 0:
            if self._trained == [BATCHED_SHARE]:
                self._trained.clear()
            insort(self._trained, spent / (examples * max(step, SHORTEST_STEP)))
        return spent * (1 + self.study.training.control)

    def _samples(self, step: float) -> float:
        """How many samples are to be expected: the fewest, and of those beyond as many as it took so far on average."""
        most = most_samples(step, self.study.care)
        fewest = min(self.study.care.min_samples, most)
        return fewest + (most - fewest) * self._beyond

    def _learn_samples(self, step: float, count: float) -> None:
        """Learn from the number of samples; where it was not the precision that ended them, as many as there may be."""
        most = most_samples(step, self.study.care)
        fewest = min(self.study.care.min_samples, most)
        if most > fewest:
            share = min(1.0, max(0.0, (count - fewest) / (most - fewest)))
            self._beyond += (share - self._beyond) * LEARNING

    def _predicted(self, case: Case) -> float:
        work, tokens = self._size(_curve(case), case.length)
        own = self._measured.get(_curve(case))
        if own is not None:
            return own.seconds(case.length, work, tokens)
        # A pace depends on the sizes of the matrices, the implementation and the mode, so the more of these a measured
        # curve shares with the case, the less its pace misleads; of equally near ones, the median ignores an odd one.
        for relatives in self._relatives(case):
            if relatives:
                return statistics.median(self._pace(curve, case.length) for curve in relatives) * work
        return work / self._first_rate

    def _pace(self, curve: _Curve, length: int) -> float:
        """Seconds for each operation of a measured curve at about that length of its own."""
        measured = self._measured[curve]
        return measured.points[measured.nearest(length)].pace

    def _relatives(self, case: Case) -> Iterable[list[_Curve]]:
        """Measured curves that tell something about a case, the nearest relation first.

        Another dtype or launch leaves the work as it is. The same mode comes before the same implementation: another
        implementation leaves all layers but attention as they are, while between the modes the pace of the whole step
        rests on `TRAIN_FACTOR`.
        """
        model, attention, mode, *_ = _curve(case)
        yield [curve for curve in self._measured if curve[:3] == (model, attention, mode)]
        yield [curve for curve in self._measured if curve[0] == model and curve[2] == mode]
        yield [curve for curve in self._measured if curve[0] == model and curve[1] == attention]
        yield [curve for curve in self._measured if curve[0] == model]
        yield list(self._measured)

    def _size(self, curve: _Curve, length: int) -> tuple[float, float]:
        """Floating-point operations and tokens of one step."""
        model, attention, mode, *_, optimizer = curve
        entry = registry.find(model)
        work_at = (lambda units: units * UNKNOWN_WORK_PER_UNIT) if entry is None else entry.cost(attention).work
        work, tokens = work_at(length), float(length**2 if entry is not None and entry.unit == "pixel" else length)
        if mode == GENERATE:
            # The last of the tokens alone.
            work, tokens = work_at(length + 1) - work, 1.0
        # Where lengths are padded, one token more may be no work more.
        work = max(work, 1.0)
        # Sharpness-aware minimisation goes forward and backward twice.
        work *= (TRAIN_FACTOR if mode == "train" else 1.0) * (2.0 if optimizer == "sam" else 1.0)
        work *= TINY_SHARE if self.study.size == "tiny" else 1.0
        return work, tokens

    def _largest_batch(self, case: Case) -> int:
        """A guess of the largest batch, from the peak memory of one example."""
        limit = self.study.batch_limit
        peak = self._peaks.get((_curve(case), case.length))
        if peak is None or self.study.memory_budget is None:
            return UNKNOWN_BATCH if limit is None else min(limit, UNKNOWN_BATCH)
        fits = max(1, int(self.study.memory_budget / peak))
        return fits if limit is None else min(fits, limit)


def _curve(case: Case) -> _Curve:
    return case.model, case.attention, case.mode, case.dtype, case.launch, case.optimizer


def most_samples(step: float, care: Care) -> int:
    """How many samples a case takes at most: as many as there may be and as fit the time, and the fewest in any case.

    Where even the fewest would take more than twice the time there are fewer, but one at least, as measuring does it.
    """
    fitting = int(care.max_seconds / step)
    return max(min(care.max_samples, fitting), min(care.min_samples, max(1, 2 * fitting)))

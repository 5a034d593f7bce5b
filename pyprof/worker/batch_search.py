"""The largest batch that fits a memory budget. Pure logic over callbacks that measure and confirm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from pyprof.errors import UsageError
from pyprof.quantity import format_bytes

BATCH_LIMIT = 4096
# A batch that takes at most this share of the budget fits, however an earlier one has left the memory.
ROOMY_SHARE = 0.25
# In-process peaks are taken up to this fraction of the prediction, in steps of at most this factor.
_STRIDE = 8


@dataclass(frozen=True)
class MemoryModel:
    """Peak memory as a straight line over the batch, in bytes: a fixed part and a part per example."""

    fixed: Fraction
    per_example: Fraction

    @classmethod
    def fit(cls, peaks: Mapping[int, int], budget: int) -> MemoryModel:
        """The line through two exact peaks, by batch; that of batch 1 has to be there and within the budget.

        A step's peak is the highest of several phases, each linear in the batch, so the two nearest to the budget
        count: those around it, or else the largest batch and the largest of at most half its size, since neighbours
        would magnify what an allocator rounds up.
        """
        beyond = [batch for batch, peak in peaks.items() if peak > budget]
        if beyond:
            far = min(beyond)
            near = max(batch for batch in peaks if batch < far)
        else:
            far = max(peaks)
            near = max(batch for batch in peaks if batch <= far / 2)
        per_example = Fraction(peaks[far] - peaks[near], far - near)
        return cls(peaks[near] - near * per_example, per_example)

    def peak(self, batch: int) -> Fraction:
        return self.fixed + batch * self.per_example

    def largest(self, budget: int, limit: int) -> int:
        """The largest batch up to `limit` whose peak is within the budget; 0 where there is none."""
        if self.per_example <= 0:
            return limit if self.peak(limit) <= budget else 0
        return max(0, min(limit, (budget - self.fixed) // self.per_example))


@dataclass(frozen=True)
class Trial:
    """One batch that a fresh process tried: whether it fitted, and its peak in bytes where that is known."""

    batch: int
    fits: bool
    peak: int | None = None


@dataclass(frozen=True)
class LargestBatch:
    """The outcome of a search. `batch` is None where no batch could be confirmed, and `reason` says why.

    `exact`: the next larger batch failed, or the memory model says that it would not fit. `capped`: the batch is the
    limit of the search, and a larger one might fit. Where neither holds the confirmations were used up, and `reason`
    tells between which batches the answer lies.
    `trials` are the confirmations in the order made; `peaks` are all exact peaks, by batch.
    """

    batch: int | None
    capped: bool = False
    exact: bool = False
    reason: str | None = None
    trials: tuple[Trial, ...] = ()
    peaks: Mapping[int, int] = field(default_factory=dict)


def find_largest_batch(
    peak: Callable[[int], int | None],
    confirm: Callable[[int], bool | int],
    budget: int,
    *,
    limit: int = 4096,
    max_confirmations: int = 8,
) -> LargestBatch:
    """The largest batch whose peak memory is within `budget` bytes.

    `peak(batch)` gives the exact peak in bytes, None where the batch ran out of memory; it is asked for 1 and 2,
    and for a few more up to an eighth of the predicted answer. `confirm(batch)` runs the batch as it will be used later
    (in a fresh process: what fitted once can fail later) and gives True, False, or its exact peak, which has to be
    within the budget as well. Exact peaks move the prediction; after a failure without one the search bisects.
    Raises UsageError for a limit, budget or number of confirmations below one.
    """
    if min(limit, budget, max_confirmations) < 1:
        raise UsageError("the search for the largest batch needs a budget, a limit and confirmations of at least one")
    first = peak(1)
    if first is None or first > budget:
        needs = "runs out of memory" if first is None else f"needs {format_bytes(first)}"
        return LargestBatch(None, reason=f"one example {needs}, and the budget is {format_bytes(budget)}")
    bracket = _Bracket(budget, limit, {1: first})
    _explore(bracket, peak)
    while (batch := bracket.next_batch()) is not None and len(bracket.trials) < max_confirmations:
        bracket.add(_trial(batch, confirm(batch), budget))
    return bracket.result()


def _trial(batch: int, answer: bool | int, budget: int) -> Trial:
    if isinstance(answer, bool):
        return Trial(batch, answer)
    return Trial(batch, answer <= budget, answer)


def _explore(bracket: _Bracket, peak: Callable[[int], int | None]) -> None:
    """Take peaks in this process at 2 and then ever nearer to the prediction, but never near enough to be dangerous."""
    batch = 2
    while batch <= bracket.limit:
        reading = peak(batch)
        if reading is None:
            bracket.fails = batch
            return
        bracket.peaks[batch] = reading
        following = min(bracket.model().largest(bracket.budget, bracket.limit) // _STRIDE, batch * _STRIDE)
        if following < 2 * batch:
            return
        batch = following


@dataclass
class _Bracket:
    """The largest batch confirmed to fit (0: none yet), the smallest that failed, and all exact peaks so far."""

    budget: int
    limit: int
    peaks: dict[int, int]
    fits: int = 0
    fails: int | None = None
    trials: list[Trial] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        if trial.peak is not None:
            self.peaks[trial.batch] = trial.peak
        if trial.fits:
            self.fits = trial.batch
        else:
            self.fails = trial.batch

    def model(self) -> MemoryModel:
        return MemoryModel.fit(self.peaks, self.budget)

    def next_batch(self) -> int | None:
        """The batch to try next, between the one that fits and the one that fails; None when the largest is found."""
        if self.fits == self.limit or (self.fails is not None and self.fails <= self.fits + 1):
            return None
        predicted = self._predicted()
        if predicted is None:
            return self._midpoint()
        return predicted if predicted > self.fits else None

    def _predicted(self) -> int | None:
        """What the model allows; None where there is no model, or where a batch that it allows has failed."""
        if len(self.peaks) < 2:
            return None
        predicted = self.model().largest(self.budget, self.limit)
        return None if self.fails is not None and predicted >= self.fails else predicted

    def _midpoint(self) -> int:
        """Half-way between what should fit, by confirmation or exact peak, and what fails; at least the former."""
        within = (batch for batch, peak in self.peaks.items() if peak <= self.budget)
        safe = max((batch for batch in within if self.fails is None or batch < self.fails), default=0)
        safe = max(safe, self.fits)
        return safe if self.fails is None else max(1, (safe + self.fails) // 2)

    def result(self) -> LargestBatch:
        capped = self.fits == self.limit
        finished = self.next_batch() is None
        return LargestBatch(
            batch=self.fits or None,
            capped=capped,
            exact=self.fits > 0 and finished and not capped,
            reason=self._reason(capped, finished),
            trials=tuple(self.trials),
            peaks=dict(self.peaks),
        )

    def _reason(self, capped: bool, finished: bool) -> str | None:
        if not self.fits:
            return f"no batch was confirmed to fit: batch {self.fails} and all larger ones that were tried failed"
        if capped:
            return f"the search ends at batch {self.limit}, and a larger one might fit"
        if finished:
            return None
        failed = f", and batch {self.fails} does not" if self.fails is not None else ""
        return f"the confirmations were used up: batch {self.fits} fits{failed}"

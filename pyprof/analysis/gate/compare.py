"""The gate: which cases of a run cost more than in the run before, with the false alarms of all of them under control.

Times are compared as `pyprof.analysis.gate.shift` says; what is counted (bytes, parameters) is exact, so that any
growth beyond the margin is certain. Everything is told in terms of cost: of a throughput, the time per example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pyprof.analysis.gate.change import VERDICTS, Change, TimedMetric, Verdict
from pyprof.analysis.gate.timed import Timing, scatters, timed_changes, with_state
from pyprof.analysis.gate.unpaired import Unpaired, unpaired
from pyprof.records.case import Case
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.record import Record

Outcome = Literal["passed", "failed", "too disturbed"]


@dataclass(frozen=True)
class Gate:
    """All that changed between two runs. `margin` is the relative growth that is let pass."""

    margin: float
    changes: tuple[Change, ...]
    unpaired: tuple[Unpaired, ...]
    timed: tuple[TimedMetric, ...]

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many changes have each verdict."""
        counts = Counter(change.verdict for change in self.changes)
        return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}

    def having(self, verdict: Verdict) -> tuple[Change, ...]:
        """The changes with a verdict, the largest ratio first, or the smallest first for improvements."""
        changes = (change for change in self.changes if change.verdict == verdict)
        return tuple(sorted(changes, key=lambda change: change.ratio, reverse=verdict != "improvement"))

    @property
    def missing(self) -> tuple[Unpaired, ...]:
        """What the baseline measured and the head lacks or failed at, without what it may lack."""
        return tuple(outcome for outcome in self.unpaired if outcome.is_missing)

    @property
    def outcome(self) -> Outcome:
        """Failed where the head is shown to cost more somewhere or lacks a case, whatever else could not be judged.

        Too disturbed where nothing is shown, and a case could not be judged because other work disturbed it.
        """
        if self.having("regression") or self.missing:
            return "failed"
        return "too disturbed" if self.having("too disturbed") else "passed"


def compare_records(
    baseline: Mapping[str, Record],
    head: Mapping[str, Record],
    margin: float,
    indicators: Sequence[IndicatorFacts],
    may_lack: Sequence[str] = (),
) -> Gate:
    """Compare two runs' records, by the key of their case, in the given indicators.

    `may_lack` are patterns of the cases that the head may lack or fail at (`pyprof.analysis.gate.unpaired.is_named`).
    """
    pairs = [(baseline[key], head[key]) for key in baseline if key in head]
    measured = [pair for pair in pairs if pair[0].status == pair[1].status == "ok"]
    timings: list[Timing] = []
    counted: list[Change] = []
    for indicator in indicators:
        for before, after in measured:
            ours, theirs = before.indicators.get(indicator.name), after.indicators.get(indicator.name)
            if ours is None or theirs is None or not ours.value or not theirs.value:
                continue
            if indicator.exact:
                counted.append(_counted(before.case, indicator, ours.value, theirs.value, margin))
            else:
                timings.append(Timing.of(before, indicator, ours, theirs))
    timings = with_state(timings)
    known = scatters(timings)
    changes = [*timed_changes(timings, known, margin), *counted]
    order = {indicator.name: index for index, indicator in enumerate(indicators)}
    return Gate(
        margin=margin,
        changes=tuple(sorted(changes, key=lambda change: order[change.metric])),
        unpaired=tuple(unpaired(baseline, head, indicators, may_lack)),
        timed=tuple(known.values()),
    )


def _counted(case: Case, indicator: IndicatorFacts, before: float, after: float, margin: float) -> Change:
    baseline, head = (before, after) if indicator.better == "lower" else (after, before)
    ratio = head / baseline
    verdict: Verdict = "regression" if head > baseline * (1 + margin) else "unchanged"
    if head * (1 + margin) < baseline:
        verdict = "improvement"
    return Change(case, indicator, before, after, ratio, ratio, ratio, verdict)

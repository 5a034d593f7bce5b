"""How figures, cases and verdicts of a comparison are written, alike in a terminal and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median
from typing import Any

from pyprof.analysis.curves import Setting, describe, distinguishing
from pyprof.analysis.gate.change import LARGEST_DETECTABLE, Change
from pyprof.analysis.gate.compare import Gate
from pyprof.analysis.gate.shapes import Shape
from pyprof.analysis.gate.unpaired import Unpaired
from pyprof.report.style import batch_words, length_range, plural


def percent(ratio: float) -> str:
    """A ratio as a change: "+3.2 %", or "x2.1" where it is more than doubled."""
    if ratio >= 2:
        return f"x{ratio:.3g}"
    change = 100 * (ratio - 1)
    return f"{0.0 if abs(change) < 0.05 else change:+.1f} %"


def bounds(change: Change) -> str:
    """The interval of a change, "exact" for what is counted."""
    if change.indicator.exact:
        return "exact"
    if change.low is None or change.high is None:
        return change.verdict
    return f"{percent(change.low)} to {percent(change.high)}"


def margin_words(margin: float) -> str:
    """A margin as it is written behind a verdict: " beyond 3 %", or nothing for none."""
    return f" beyond {100 * margin:.4g} %" if margin else ""


def subject_words(change: Change | Unpaired) -> str:
    """The model and its implementation."""
    case = change.case
    return f"{case.model} {case.how}" + (f" ({case.weights})" if case.weights else "")


def outcome_words(outcome: Unpaired) -> str:
    """The case, its metric where only that is missing, and whether it may be."""
    metric = f", {outcome.indicator.title.lower()}" if outcome.indicator else ""
    allowed = " (allowed)" if outcome.allowed else ""
    return f"{subject_words(outcome)} {outcome.case.length:,}, {outcome.case.mode}{metric}{allowed}"


def setting_of(change: Change) -> Setting:
    """The setting of a change without its environment, which both runs share."""
    case = change.case
    return Setting(case.mode, case.size, case.batch, case.dtype, case.device, case.compiled, "", case.allocator)


def setting_words(setting: Setting, every: Iterable[Setting]) -> str:
    """The mode, the batch where it is not 1, and what else tells the settings apart."""
    extra = describe(setting, distinguishing(every))
    return f"{setting.mode}{batch_words(setting.batch)}" + (f", {extra}" if extra else "")


def metric_words(shape: Shape, every: Iterable[Setting]) -> str:
    """The indicator of a comparison and its setting among all of them."""
    return f"{shape.indicator.title.lower()}, {setting_words(shape.setting, every)}"


def listed(changes: Iterable[Change]) -> list[tuple[Change, str]]:
    """Changes for a list, with their lengths: one line for those that say the same of several lengths.

    What does not vary with the length would else be told many times.
    """
    groups: dict[Any, list[Change]] = {}
    for change in changes:
        said = (change.metric, subject_words(change), change.baseline, change.head)
        groups.setdefault(said if change.indicator.exact else change, []).append(change)
    lines = []
    for group in groups.values():
        lengths = [change.case.length for change in group]
        lines.append((group[0], length_range(min(lengths), max(lengths))))
    return lines


def summary(gate: Gate) -> str:
    """How many comparisons came out how."""
    within = f"unchanged within {100 * gate.margin:.4g} %" if gate.margin else "exactly unchanged"
    words = {
        "regression": f"cost more{margin_words(gate.margin)}",
        "improvement": f"cost less{margin_words(gate.margin)}",
        "unchanged": within,
        "open": "show neither",
        "too disturbed": "were too disturbed to judge",
        "too few samples": "have too few samples",
    }
    counts = ", ".join(f"{count:,} {words[verdict]}" for verdict, count in gate.counts.items())
    return f"{plural(len(gate.changes), 'comparison')}: {counts}"


def certainty(gate: Gate) -> list[str]:
    """What the verdicts on times rest on, a sentence each."""
    said = []
    for timed in gate.timed:
        changes = [change for change in gate.changes if change.metric == timed.metric and change.p is not None]
        typical = median(change.ratio for change in changes)
        least = sorted(math.inf if change.detectable is None else change.detectable for change in changes)
        half, every = (_growth(least[index]) for index in (len(least) // 2, -1))
        scatter = f"{100 * timed.scatter.value:.1f} %"
        pairs = f"measured on {timed.scatter.pairs} pairs of neighbours"
        how = pairs if timed.scatter.measured else "few cases: no less than is assumed"
        by = (
            "measured in turn"
            if timed.in_turn
            else "corrected by a yardstick"
            if timed.corrected
            else "without a yardstick, so a machine that ran slower counts as change"
        )
        name = timed.indicator.title.lower()
        said.append(
            f"{name}: {plural(timed.cases, 'case')} {by}; typical change {percent(typical)}; scatter between runs "
            f"{scatter} ({how}); a slowdown of {half} would be shown in half of the cases, of {every} in all"
        )
    return said


def _growth(share: float) -> str:
    return f"more than x{LARGEST_DETECTABLE:.0f}" if math.isinf(share) else percent(1 + share).removeprefix("+")


def same_counts(gate: Gate) -> str | None:
    """What is counted and did not change anywhere, in one sentence; nothing of it need be listed."""
    by_title: dict[str, list[float]] = {}
    for change in gate.changes:
        if change.indicator.exact:
            by_title.setdefault(change.indicator.title.lower(), []).append(change.ratio)
    same = {title: len(ratios) for title, ratios in by_title.items() if set(ratios) == {1.0}}
    words = " and ".join(f"{title} of {plural(count, 'case')}" for title, count in same.items())
    return f"Exactly the same: {words}" if same else None

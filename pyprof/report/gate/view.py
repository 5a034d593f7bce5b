"""What a comparison of two runs says, for all of its renderers; and as one JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from pyprof.analysis.curves import Setting, describe, distinguishing
from pyprof.analysis.gate.compare import LARGEST_DETECTABLE, Change, Gate, compare_records
from pyprof.analysis.gate.shapes import Shape, shapes
from pyprof.analysis.gate.unpaired import Unpaired
from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.records.environment import differences
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.record import Record
from pyprof.records.run_directory import Run
from pyprof.report.as_json import as_plain
from pyprof.report.run import machine_line
from pyprof.report.style import batch_words, length_range, plural

# What a change of the code may bring along; all else is the machine and how it was used.
SOFTWARE = ("Python", "torch", "transformers", "pyprof", "BLAS", "oneDNN", "CUDA", "cuDNN")


@dataclass(frozen=True)
class Wish:
    """What is asked of a comparison: the growth to fail over (None: only tell), what may differ, which metrics.

    No metrics stand for all that the runs have.
    """

    fail_over: float | None = None
    across: Literal["machines", "software"] | None = None
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateView:
    """A comparison of two runs. `gate` is None across machines, where only shapes are comparable.

    `indicators` are those that were compared.
    `machines` are the machine of both, or of each; `different` says in what the environments differ.
    """

    baseline: str
    head: str
    machines: tuple[str, ...]
    different: tuple[str, ...]
    fail_over: float | None
    gate: Gate | None
    shapes: tuple[Shape, ...]
    indicators: tuple[IndicatorFacts, ...]
    warnings: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there is a gate and it is not passed."""
        return self.fail_over is not None and self.gate is not None and self.gate.failed


def gate_view(baseline: Run, head: Run, wish: Wish) -> GateView:
    """Compare two runs.

    Raises UsageError where they are of different environments, have nothing in common, or lack a wanted metric.
    """
    different = tuple(differences(baseline.environment, head.environment))
    _check(baseline, head, wish, different)
    ours, theirs = _own(baseline), _own(head)
    both = dict.fromkeys((*baseline.resolved.comparisons, *head.resolved.comparisons))
    indicators = _indicators(baseline, head, wish)
    gate = None
    if wish.across != "machines":
        gate = compare_records(ours, theirs, wish.fail_over or 0.0, indicators)
    tippings = shapes(ours.values(), theirs.values(), tuple(both), indicators)
    if not tippings and not (gate and (gate.changes or gate.broken)):
        raise UsageError(
            f"{baseline.directory} and {head.directory} have no measured case in common: compare two runs of one study"
        )
    return GateView(
        baseline=str(baseline.directory),
        head=str(head.directory),
        machines=tuple(dict.fromkeys(machine_line(run.environment) for run in (baseline, head))),
        different=different,
        fail_over=wish.fail_over,
        gate=gate,
        shapes=tippings,
        indicators=tuple(indicators),
        warnings=tuple(_warnings(baseline, ours, head, theirs)),
    )


def _indicators(baseline: Run, head: Run, wish: Wish) -> list[IndicatorFacts]:
    """The wanted indicators of either run, as the head knows them, in the order of a report."""
    every = {each.name: each for each in (*baseline.resolved.indicators, *head.resolved.indicators)}
    for metric in wish.metrics:
        if metric not in every:
            raise UsageError(f"the runs have no metric {metric!r}: {nearest(metric, every)}")
    chosen = [indicator for name, indicator in every.items() if not wish.metrics or name in wish.metrics]
    return sorted(chosen, key=lambda indicator: (indicator.place, indicator.name))


def _check(baseline: Run, head: Run, wish: Wish, different: Sequence[str]) -> None:
    if wish.across == "machines" and wish.fail_over is not None:
        raise UsageError("a gate compares times, which two machines do not share: leave out --fail-over here")
    machine = [each for each in different if each.partition(":")[0] not in SOFTWARE]
    if machine and wish.across != "machines":
        raise UsageError(
            f"the runs are not of one machine in one setting ({'; '.join(machine)}): measure both alike, or compare "
            "ratios and tipping points only by --across-machines"
        )
    if different and wish.across is None:
        raise UsageError(
            f"the runs were made with different software ({'; '.join(different)}): if that is what you compare, say so "
            "by --across-software"
        )
    optimizers = [run.study.optimizer for run in (baseline, head)]
    if optimizers[0] != optimizers[1] and any("train" in run.study.modes for run in (baseline, head)):
        raise UsageError(
            f"the runs trained with different optimizers ({optimizers[0]} against {optimizers[1]}): measure both alike"
        )


def _own(run: Run) -> dict[str, Record]:
    """The records of the run's own environment; others are warned about."""
    own = run.environment.fingerprint
    return {key: record for key, record in run.records.items() if record.environment == own}


def _warnings(baseline: Run, ours: Mapping[str, Record], head: Run, theirs: Mapping[str, Record]) -> Iterable[str]:
    for run, own in ((baseline, ours), (head, theirs)):
        yield from run.warnings
        left = len(run.records) - len(own)
        if left:
            yield f"{plural(left, 'record')} of {run.directory} are of another environment and are left out"


# How figures, cases and verdicts are written, alike in a terminal and in Markdown.


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
        return "too few samples"
    return f"{percent(change.low)} to {percent(change.high)}"


def margin_words(margin: float) -> str:
    """A margin as it is written behind a verdict: " beyond 3 %", or nothing for none."""
    return f" beyond {100 * margin:.4g} %" if margin else ""


def subject_words(change: Change | Unpaired) -> str:
    """The model and its implementation."""
    case = change.case
    return f"{case.model} {case.attention}" + (f" ({case.weights})" if case.weights else "")


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


def headline(view: GateView) -> str:
    """The outcome in one sentence."""
    gate = view.gate
    if gate is None:
        moved = sum(shape.move in ("earlier", "later") for shape in view.shapes)
        changed = sum(ratio.shown for shape in view.shapes for ratio in shape.ratios)
        return f"Across machines: {plural(moved, 'tipping point')} moved, {plural(changed, 'ratio')} changed."
    beyond = margin_words(gate.margin)
    regressions = len(gate.having("regression"))
    said = f"{plural(regressions, 'regression')}{beyond} shown" if regressions else f"no regression{beyond} is shown"
    if gate.broken:
        said = f"{plural(len(gate.broken), 'case')} broken, {said}"
    if view.fail_over is None:
        return f"{said[0].upper()}{said[1:]}."
    return f"{'Failed' if view.failed else 'Passed'}: {said}."


def summary(gate: Gate) -> str:
    """How many comparisons came out how."""
    within = f"unchanged within {100 * gate.margin:.4g} %" if gate.margin else "exactly unchanged"
    words = {
        "regression": f"cost more{margin_words(gate.margin)}",
        "improvement": f"cost less{margin_words(gate.margin)}",
        "unchanged": within,
        "open": "show neither",
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
        how = pairs if timed.scatter.measured else "assumed: few cases"
        by = (
            "corrected by a yardstick"
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


def document(view: GateView) -> dict[str, Any]:
    """The comparison in plain objects, lists, numbers and texts."""
    gate = view.gate
    plain: dict[str, Any] = {
        **{name: as_plain(getattr(view, name)) for name in ("baseline", "head", "machines", "different", "fail_over")},
        "failed": view.failed,
        "headline": headline(view),
        "margin": None if gate is None else gate.margin,
        "counts": {} if gate is None else dict(gate.counts),
        "changes": [] if gate is None else as_plain(gate.changes),
        "unpaired": [] if gate is None else as_plain(gate.unpaired),
        "timed": [] if gate is None else as_plain(gate.timed),
        "shapes": as_plain(view.shapes),
        "indicators": as_plain(view.indicators),
        "warnings": list(view.warnings),
    }
    return plain

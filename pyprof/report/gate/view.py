"""What a comparison of two runs says, for all of its renderers; and as one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pyprof.analysis.gate.compare import Gate, Outcome, compare_records
from pyprof.analysis.gate.shapes import Shape, shapes
from pyprof.analysis.gate.unpaired import is_named
from pyprof.analysis.noise import run_noise
from pyprof.analysis.trust import trust
from pyprof.errors import UsageError
from pyprof.names import nearest
from pyprof.printing import ShownInNotebook
from pyprof.quantity import named, plural
from pyprof.records.environment import differences
from pyprof.records.indicator import IndicatorFacts
from pyprof.records.record import Record
from pyprof.records.run_directory import Run
from pyprof.records.trust import Judgement
from pyprof.report.as_json import as_plain
from pyprof.report.gate.again import Again, again
from pyprof.report.gate.words import margin_words
from pyprof.report.run import machine_line
from pyprof.report.style import short_case
from pyprof.report.trust import judgement

# What a change of the code may bring along; all else is the machine and how it was used.
SOFTWARE = ("Python", "torch", "transformers", "pyprof", "BLAS", "oneDNN", "CUDA", "cuDNN")


@dataclass(frozen=True)
class Wish:
    """What is asked of a comparison: the growth to fail over (None: only tell), what may differ, which metrics.

    No metrics stand for all that the runs have. What the head `may_lack` are patterns of cases, such as "bert eager 64
    infer" or "longformer*".
    """

    fail_over: float | None = None
    across: Literal["machines", "software"] | None = None
    metrics: tuple[str, ...] = ()
    may_lack: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateView(ShownInNotebook):
    """A comparison of two runs. `gate` is None across machines, where only shapes are comparable.

    `indicators` are those that were compared.
    `again` says what to measure again where something was too disturbed to judge. `trust` says of the baseline and of
    the head whether to trust its times, None where nothing is known.
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
    again: Again | None = None
    trust: tuple[Judgement | None, Judgement | None] = (None, None)

    @property
    def outcome(self) -> Outcome | None:
        """What the gate says: passed, failed or too disturbed; None where no gate is set."""
        return None if self.fail_over is None or self.gate is None else self.gate.outcome


def gate_view(baseline: Run, head: Run, wish: Wish) -> GateView:
    """Compare two runs.

    Raises UsageError where they are of different environments, have nothing in common, or lack a wanted metric, and
    for a pattern that names no case of the baseline.
    """
    different = tuple(differences(baseline.environment, head.environment))
    _check(baseline, head, wish, different)
    ours, theirs = _own(baseline), _own(head)
    both = dict.fromkeys((*baseline.resolved.comparisons, *head.resolved.comparisons))
    indicators = _indicators(baseline, head, wish)
    gate = None
    if wish.across != "machines":
        gate = compare_records(ours, theirs, wish.fail_over or 0.0, indicators, wish.may_lack)
    tippings = shapes(ours.values(), theirs.values(), tuple(both), indicators)
    if not tippings and not (gate and (gate.changes or _is_about_the_missing(gate, theirs, wish))):
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
        again=None if gate is None else again(gate, baseline, head),
        trust=(_trust(ours), _trust(theirs)),
    )


def _trust(records: Mapping[str, Record]) -> Judgement | None:
    every = list(records.values())
    judged = trust(every, run_noise(every), of_kept=True)
    return None if judged is None else judgement(judged)


def _is_about_the_missing(gate: Gate, head: Mapping[str, Record], wish: Wish) -> bool:
    """Whether the head failed at cases, or a gate is set and it has measured nothing at all: so tell that."""
    stopped = wish.fail_over is not None and not any(record.status == "ok" for record in head.values())
    return any(outcome.kind == "broken" or stopped for outcome in gate.missing)


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
    cases = [record.case for record in baseline.records.values()]
    for pattern in wish.may_lack:
        if cases and not any(is_named(case, pattern) for case in cases):
            models = ", ".join(dict.fromkeys(case.model for case in cases))
            raise UsageError(
                f"no case of {baseline.directory} is called {pattern!r}: name one as the report does, such as "
                f"{short_case(cases[0])!r}, or all of a model ({models})"
            )
    if wish.may_lack and wish.fail_over is None:
        raise UsageError("what may be missing matters to a gate only: give --fail-over too, or leave it out")
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


def headline(view: GateView) -> str:
    """The outcome in one sentence."""
    gate = view.gate
    if gate is None:
        moved = sum(shape.move in ("earlier", "later") for shape in view.shapes)
        changed = sum(ratio.shown for shape in view.shapes for ratio in shape.ratios)
        return f"Across machines: {plural(moved, 'tipping point')} moved, {plural(changed, 'ratio')} changed."
    beyond = margin_words(gate.margin)
    regressions = len(gate.having("regression"))
    said = [f"{plural(regressions, 'regression')}{beyond} shown" if regressions else f"no regression{beyond} is shown"]
    if gate.missing:
        # Those of one metric only would else be told once for each of them.
        names = list(dict.fromkeys(short_case(outcome.case) for outcome in gate.missing))
        said.insert(0, f"{plural(len(names), 'case')} missing or failed in the head ({named(names)})")
    disturbed = len(gate.having("too disturbed"))
    if disturbed:
        judged = f"{disturbed:,} of {plural(len(gate.changes), 'comparison')} too disturbed to judge"
        said.insert(0 if view.outcome == "too disturbed" else len(said), judged)
    text = ", ".join(said)
    outcome = {None: "", "passed": "Passed: ", "failed": "Failed: ", "too disturbed": "Neither passed nor failed: "}
    return f"{outcome[view.outcome]}{text if view.outcome else text[0].upper() + text[1:]}."


def trusts(view: GateView) -> list[tuple[str, Judgement]]:
    """What the two runs are called, and whether to trust their times, where that is known."""
    pairs = zip((view.baseline, view.head), view.trust, strict=True)
    return [(name, judged) for name, judged in pairs if judged is not None]


def document(view: GateView) -> dict[str, Any]:
    """The comparison in plain objects, lists, numbers and texts."""
    gate = view.gate
    plain: dict[str, Any] = {
        **{name: as_plain(getattr(view, name)) for name in ("baseline", "head", "machines", "different", "fail_over")},
        "outcome": view.outcome,
        "failed": view.outcome == "failed",
        "headline": headline(view),
        "margin": None if gate is None else gate.margin,
        "counts": {} if gate is None else dict(gate.counts),
        "changes": [] if gate is None else as_plain(gate.changes),
        "unpaired": [] if gate is None else as_plain(gate.unpaired),
        "timed": [] if gate is None else as_plain(gate.timed),
        "shapes": as_plain(view.shapes),
        "indicators": as_plain(view.indicators),
        "missing": [] if gate is None else as_plain(gate.missing),
        "again": as_plain(view.again),
        "trust": dict(zip(("baseline", "head"), as_plain(view.trust), strict=True)),
        "warnings": list(view.warnings),
    }
    return plain

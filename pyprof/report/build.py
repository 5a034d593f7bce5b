"""From the records of a run to the view that the renderers see."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyprof.analysis.arena import arena_tables
from pyprof.analysis.arena_scores import arena_scores
from pyprof.analysis.case_columns import case_columns
from pyprof.analysis.curves import Curves, Setting
from pyprof.analysis.disagreement import disagreements
from pyprof.analysis.growth import growth_lines
from pyprof.analysis.noise import run_noise
from pyprof.analysis.omitted import notes, omitted, outcome
from pyprof.analysis.probed_steps import probed_steps
from pyprof.analysis.published import agreement, side
from pyprof.analysis.ranking import rankings
from pyprof.analysis.ranks import ranked_cases
from pyprof.analysis.shares import ShareCurve, ShareRow, share_curves, share_summaries
from pyprof.analysis.speech_rates import speech_rates
from pyprof.analysis.system_time import system_time
from pyprof.analysis.tipping_points import TippingPoint, tipping_points
from pyprof.analysis.trust import trust
from pyprof.analysis.usage import usage
from pyprof.failures import NO_TIME, NOT_NEEDED, STATUSES
from pyprof.records.case import MODES, USUAL_MODES
from pyprof.records.comparison import Comparison, ModelFacts, Subject
from pyprof.records.costs import Costs
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.records.study import Study
from pyprof.report.build_disagreement import disagreement_lines
from pyprof.report.build_printed import printed_figures
from pyprof.report.build_rankings import least_lines, measure_longer, ranking_lines
from pyprof.report.build_tables import Part, brief, model_lines, tables
from pyprof.report.trust import judgement
from pyprof.report.view import (
    Axis,
    ModalityView,
    Placement,
    ShareChart,
    ShareChartRow,
    ShareLine,
    TippingLine,
    View,
)

MODALITIES = ("text", "speech", "vision")
BRIEF_SHARES = 4


@dataclass(frozen=True)
class About:
    """What the records do not say: the study's name, the machine in one line, warnings to show.

    With the `plan`, the study as it was measured, and its `directory`, a report can say how to measure longer.
    """

    study: str
    machine: str
    warnings: tuple[str, ...] = ()
    plan: Study | None = None
    directory: Path | None = None


def build_view(records: Iterable[Record], resolved: Resolved, about: About) -> View:
    """All that a report says about a run; figures of different environments stay apart, with a warning."""
    curves = Curves.of(records)
    every = list(curves.records)
    modalities = tuple(_modality(part) for part in _parts(curves, resolved))
    outcomes = Counter(outcome(record.status, record.reason) for record in every)
    counts = {**outcomes, "skipped": outcomes["skipped"] + outcomes[NO_TIME]}
    quiet = run_noise(every)
    varying = [indicator.name for indicator in resolved.indicators if indicator.varies_with_length]
    judged = trust(every, quiet)
    costs = Costs() if about.plan is None else about.plan.costs
    return View(
        study=about.study,
        machine=about.machine,
        started=min((record.started for record in every), default=None),
        seconds=sum(record.seconds for record in every),
        counts={status: counts[status] for status in (*STATUSES, NOT_NEEDED) if counts.get(status)},
        out_of_time=outcomes[NO_TIME],
        source="" if resolved.published is None else resolved.published.source,
        modalities=modalities,
        omitted=omitted(curves, resolved.models, resolved.indicators),
        warnings=about.warnings + _apart({setting.environment for _, setting in curves.all}),
        notes=notes(curves),
        quiet=quiet,
        trust=None if judged is None else judgement(judged),
        indicators=resolved.indicators,
        system=system_time(every),
        probed=probed_steps(every),
        resume=_resume(modalities, outcomes[NO_TIME], about.directory),
        cases=case_columns(curves, resolved.models, resolved.indicators),
        longer=measure_longer(modalities, about.plan, about.directory),
        growth=growth_lines(curves, resolved.models, varying),
        arena=arena_tables(curves),
        scores=arena_scores(curves, resolved.indicators),
        speech=speech_rates(curves, resolved.indicators),
        usage=usage(curves, resolved.indicators, costs),
        ranks=ranked_cases(curves),
        costs=costs,
    )


def _resume(modalities: Sequence[ModalityView], out_of_time: int, directory: Path | None) -> str | None:
    """The command that goes on where the time was up before there was an answer."""
    tipping = any(line.time_was_up for part in modalities for line in part.tipping)
    ranking = out_of_time > 0 and any(part.one_length for part in modalities)
    if directory is None or not (tipping or ranking):
        return None
    return shlex.join(["pyprof", "study", "-o", str(directory), "--resume"])


def _apart(environments: set[str]) -> tuple[str, ...]:
    if len(environments) < 2:
        return ()
    return (
        f"the records come from {len(environments)} environments, whose figures are never compared with each other: "
        "every table and every line below belongs to one of them",
    )


def _parts(curves: Curves, resolved: Resolved) -> list[Part]:
    """The curves by modality and unit of length: text, speech, vision, then what users bring along."""
    models: dict[tuple[str, str], set[str]] = {}
    for subject, _ in curves.all:
        fact = resolved.models.get(subject.model, ModelFacts())
        models.setdefault((fact.modality, fact.unit), set()).add(subject.model)
    known = {name: index for index, name in enumerate(MODALITIES)}
    order = sorted(models, key=lambda kind: (known.get(kind[0], len(known)), kind))
    return [Part(name, unit, curves.only(models[name, unit]), resolved) for name, unit in order]


def _modality(part: Part) -> ModalityView:
    own = [comparison for comparison in part.resolved.comparisons if comparison.modality == part.name]
    points = tipping_points(part.curves, own, part.resolved.indicators)
    shares = share_curves(part.curves)
    published_modes = [curve for curve in shares if curve.setting.mode in USUAL_MODES]
    ranked = rankings(part.curves, part.resolved.pairings, part.resolved.indicators)
    lengths = tuple(sorted({length for curve in part.curves.all.values() for length in curve}))
    several = len(lengths) > 1
    return ModalityView(
        name=part.name,
        unit=part.unit,
        tables=tables(part, points),
        shares=_share_charts(part, shares),
        share_lines=_share_lines(part, published_modes, own),
        tipping=tuple(_tipping_line(part, point) for point in points) if several else (),
        axis=_axis(part) if several else None,
        models=model_lines(part),
        rankings=ranking_lines(part, ranked),
        least=least_lines(part, ranked),
        disagreements=disagreement_lines(
            part, disagreements(part.curves, part.resolved.pairings, part.resolved.indicators, _families(part))
        ),
        printed=printed_figures(part),
        lengths=lengths,
    )


def _families(part: Part) -> dict[str, str]:
    return {model: facts.family for model, facts in part.resolved.models.items() if facts.family is not None}


def _share_charts(part: Part, curves: Iterable[ShareCurve]) -> tuple[ShareChart, ...]:
    """A chart for everything in each setting, the modes of one setting together."""
    charts: dict[tuple[Subject, Setting], dict[int, dict[str, ShareRow]]] = {}
    for curve in curves:
        rows = charts.setdefault((curve.subject, replace(curve.setting, mode=MODES[0])), {})
        for row in curve.rows:
            rows.setdefault(row.length, {})[curve.setting.mode] = row
    order = {subject: index for index, subject in enumerate(part.subjects)}
    ordered = sorted(charts.items(), key=lambda item: order[item[0][0]])
    seen = Counter(length for rows in charts.values() for length in rows)
    common = sorted(length for length, times in seen.items() if 2 * times >= len(charts))
    shown = {common[index] for index in brief(common, BRIEF_SHARES)}
    return tuple(_share_chart(part, subject, setting, rows, shown) for (subject, setting), rows in ordered)


def _share_chart(
    part: Part, subject: Subject, setting: Setting, rows: Mapping[int, Mapping[str, ShareRow]], shown: set[int]
) -> ShareChart:
    """One chart; what a short print shows of it are the lengths that its neighbours show, or else all its ends."""
    lengths = sorted(rows)
    chosen = tuple(index for index, length in enumerate(lengths) if length in shown)
    return ShareChart(
        part.column(subject),
        part.words(setting),
        tuple(ShareChartRow(length, rows[length]) for length in lengths),
        chosen or brief(lengths, BRIEF_SHARES),
        setting.device,
    )


def _share_lines(part: Part, curves: Sequence[ShareCurve], comparisons: Sequence[Comparison]) -> tuple[ShareLine, ...]:
    return tuple(
        ShareLine(
            summary.comparison,
            summary.setting.mode,
            part.words_beside_comparison(summary.setting),
            summary.share,
            summary.below,
            summary.models,
            summary.covered[0],
            summary.covered[1],
            summary.published,
        )
        for summary in share_summaries(curves, comparisons, part.shares_published)
    )


def _tipping_line(part: Part, point: TippingPoint) -> TippingLine:
    # What was published is of models against models, in the two modes that all have.
    unlike = point.comparison.of_one_model or point.setting.mode not in USUAL_MODES
    finding = None if unlike else part.tipping_published(point.metric)
    measured = point.measured
    related = agreement(point.tipping, finding, measured) if finding and measured else None
    placed = [(data_set, side(data_set.length, point.tipping, measured)) for data_set in part.data_sets if measured]
    return TippingLine(
        comparison=point.comparison,
        indicator=point.indicator,
        mode=point.setting.mode,
        setting=part.words_beside_comparison(point.setting),
        tipping=point.tipping,
        shortest=measured[0] if measured else None,
        longest=measured[1] if measured else None,
        published=finding,
        agreement=related,
        data_sets=tuple(
            Placement(data_set.name, data_set.length, where) for data_set, where in placed if where is not None
        ),
        points=point.points,
        time_was_up=point.time_was_up,
    )


def _axis(part: Part) -> Axis | None:
    """The axis reaches over all measured lengths and the published tipping point."""
    lengths = [length for curve in part.curves.ok.values() for length in curve]
    if not lengths:
        return None
    alike = any(setting.mode in USUAL_MODES for _, setting in part.curves.ok)
    headlines = [indicator.name for indicator in part.resolved.indicators if indicator.headline and alike]
    finding = next((found for found in map(part.tipping_published, headlines) if found is not None), None)
    if finding is not None and finding.low is not None and finding.high is not None:
        lengths += [finding.low, finding.high]
    return Axis(min(lengths), max(lengths), part.data_sets, finding)

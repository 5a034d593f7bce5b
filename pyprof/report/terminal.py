"""The report of a run in a terminal: readable at 80 and at 120 columns, in colour and without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from pyprof.analysis.omitted import Note, Omission, outcome
from pyprof.analysis.probed_steps import ProbedSteps
from pyprof.failures import NO_TIME, NOT_NEEDED, STATUSES
from pyprof.quantity import format_longer, format_seconds
from pyprof.report.arena import arena_blocks
from pyprof.report.arena_scores import score_blocks
from pyprof.report.axis import tipping_axis
from pyprof.report.bars import fixed_figures, parameter_bars, share_charts
from pyprof.report.clock import host_only
from pyprof.report.disagreement import disagreement_blocks
from pyprof.report.growth import growth_tables
from pyprof.report.in_short import in_short
from pyprof.report.parts import part_bars
from pyprof.report.printed import printed_table
from pyprof.report.ranking import least_table
from pyprof.report.ranks import rank_blocks
from pyprof.report.short_names import ShortNames
from pyprof.report.speech_rates import rate_blocks
from pyprof.report.style import STATUS_STYLES, Glyphs, batch_words, glyphs, length_range, plural, rule, usable_width
from pyprof.report.system_time import system_lines
from pyprof.report.tables import metric_table
from pyprof.report.tipping_table import tipping_table
from pyprof.report.trust import trust_line, trust_lines
from pyprof.report.usage import usage_tables
from pyprof.report.view import ModalityView, ShareLine, Table, View


def write(view: View, console: Console) -> None:
    """Write the report to a console, in its width, colours and encoding."""
    console.print(render(view, console.width, glyphs(console.encoding), repeat=console.is_terminal))


def render(view: View, width: int, marks: Glyphs, *, repeat: bool = False) -> Group:
    """The whole report for a width in columns; `repeat` says its beginning again at the end."""
    width = usable_width(width)
    names = ShortNames.of_views([view])
    view = names.within(view)
    short = list(in_short(view, width, marks))
    blocks: list[RenderableType] = [_header(view, marks), *(Text(each, "dim") for each in names.legend()), *short]
    for part in view.modalities:
        blocks.append(rule(part.name, width, marks))
        blocks += _spaced(_modality(part, view, width, marks))
    if view.scores:
        blocks += [rule("scores on the arena's tasks", width, marks), *_spaced(score_blocks(view.scores, width))]
    if view.speech:
        blocks += [rule("word error rates", width, marks), *_spaced(rate_blocks(view.speech, width))]
    if view.arena:
        blocks += [rule("beside the arena", width, marks), *_spaced(arena_blocks(view.arena))]
    if view.usage:
        blocks += [rule("what it costs in all", width, marks), *_spaced(usage_tables(view.usage, view.costs))]
    if view.ranks:
        blocks += [rule("the ranks of sharded models", width, marks), *_spaced(rank_blocks(view.ranks))]
    if view.growth:
        blocks += [rule("how costs grow", width, marks), *_spaced(growth_tables(view.growth))]
    if view.omitted:
        blocks += [rule("not measured", width, marks), *_omissions(view.omitted)]
    if view.notes:
        blocks.append(rule("notes", width, marks))
        blocks += [Text(f"{note.text}{_cases(note)}") for note in view.notes]
    if view.trust is not None and view.quiet is not None:
        blocks += [rule("whether to trust these times", width, marks), *trust_lines(view.trust, view.quiet)]
    if view.system is not None and (lines := list(system_lines(view.system))):
        blocks += [rule("what the system took", width, marks), *lines]
    if repeat:
        blocks += short
    return Group(*blocks)


def _header(view: View, marks: Glyphs) -> RenderableType:
    title = Text.assemble(("pyprof", "bold bright_blue"), f" {marks.dot} study ", (view.study, "bold"))
    if view.started:
        title.append(f" {marks.dot} {view.started[:16].replace('T', ' ')} UTC", "dim")
    counts = Text(f"{plural(sum(view.counts.values()), 'case')}: ")
    outcomes = {**view.counts, "skipped": view.counts.get("skipped", 0) - view.out_of_time, NO_TIME: view.out_of_time}
    kinds = [kind for kind in (*STATUSES, NO_TIME, NOT_NEEDED) if outcomes.get(kind)]
    for index, (status, count) in enumerate((kind, outcomes[kind]) for kind in kinds):
        counts.append(f"{', ' if index else ''}{count:,} {status}", STATUS_STYLES.get(status, ""))
    counts.append(f" {marks.dot} {format_seconds(view.seconds)} of measuring", "dim")
    warnings = [Text(f"warning: {warning}", "bold yellow") for warning in view.warnings]
    if view.trust is not None and view.trust.level == "do not trust":
        warnings.append(trust_line(view.trust))
    return Group(title, Text(view.machine), counts, *warnings)


def _spaced(blocks: Iterable[RenderableType]) -> Iterator[RenderableType]:
    for index, block in enumerate(blocks):
        if index:
            yield Text("")
        yield block


def _modality(part: ModalityView, view: View, width: int, marks: Glyphs) -> Iterator[RenderableType]:
    headlines = [table for table in part.tables if table.indicator.headline]
    for table in headlines:
        yield metric_table(table, width, marks)
    if headlines:
        yield _reading(headlines, marks)
    if part.shares:
        yield share_charts(part.shares, part.unit, width, marks)
    if part.shares and view.probed is not None:
        yield _probed(view.probed)
    if (missing := host_only(part.shares)) is not None:
        yield Text(missing, "yellow")
    if part.share_lines:
        yield _share_lines(part, part.share_lines)
    if part.tipping:
        yield tipping_table(part, marks)
    if part.tipping and part.axis is not None:
        yield tipping_axis(part, part.axis, width, marks)
    if not part.one_length and (least := list(least_table(part, marks))):
        yield Group(*least)
    named = {indicator.name: indicator for indicator in view.indicators}
    if printed := list(printed_table(part, view.source, named, marks)):
        yield Group(*printed)
    if disagreeing := list(disagreement_blocks(part, named, width, marks)):
        yield Group(*disagreeing)
    for table in part.tables:
        if not table.indicator.headline:
            yield metric_table(table, width, marks)
        if (bars := part_bars(table, width, marks)) is not None:
            yield bars
    if any(line.fewest is not None for line in part.models):
        yield parameter_bars(part.models, width, marks)
    if any(line.fixed for line in part.models):
        yield fixed_figures(part.models, marks)


def _probed(steps: ProbedSteps) -> Text:
    """What looking cost the steps of which the shares are."""
    typical, most = map(format_longer, (steps.typical, steps.most))
    return Text(
        f"the shares are of steps with probes, which took {typical} than those without (median of "
        f"{plural(steps.cases, 'case')}; {most} at most); no other figure is of these",
        "dim",
    )


def _reading(tables: Iterable[Table], marks: Glyphs) -> Text:
    text = Text(f"median {marks.spread} the larger half of its 95 % interval", "dim")
    rows = [zip(row.cells, table.compared, strict=True) for table in tables for row in table.rows]
    cells = [pair for row in rows for pair in row]
    if any(cell.value is not None and cell.low is None for cell, _ in cells):
        text.append(f", {marks.spread}? fewer than five samples")
    vanilla = " and ".join(
        dict.fromkeys(column.model for table in tables for column in table.columns if column.vanilla)
    )
    if any(cell.cheaper_in for cell, _ in cells):
        text.append(f"; {marks.cheaper} shown to cost less than {vanilla}")
    if any(0 < len(set(cell.cheaper_in)) < compared for cell, compared in cells):
        text.append(f", {marks.partly} less than {vanilla} with one implementation of attention but not with all")
    if any(cell.launch_bound for cell, _ in cells):
        text.append(f"; {marks.launch} launch-bound: the device works for less than half of it")
    return text


def _share_lines(part: ModalityView, lines: Iterable[ShareLine]) -> Group:
    """One sentence for each bound, with the shares of all comparisons and modes."""
    groups: dict[tuple[int, float], list[ShareLine]] = {}
    for line in lines:
        groups.setdefault((line.below, line.published), []).append(line)
    texts = []
    for (below, share), group in groups.items():
        text = Text(f"Below {below:,} {part.unit}s, on average so much of latency lies outside self-attention: ")
        for index, line in enumerate(group):
            name = f"{line.comparison} {line.mode}" + (f" {line.setting}" if line.setting else "")
            text.append(f"{', ' if index else ''}{name} ").append(f"{100 * line.share:.0f} %", "bold")
        covered = f"{min(line.shortest for line in group):,} to {max(line.longest for line in group):,}"
        text.append(f" (measured from {covered}); published ").append(f"{100 * share:.0f} %", "cyan")
        texts.append(text)
    return Group(*texts)


def _cases(note: Note) -> str:
    said = [plural(note.cases, "case")] if note.cases > 1 else []
    said += ["the numbers differ"] if note.alike else []
    return f" ({', '.join(said)})" if said else ""


def _omissions(omitted: Iterable[Omission]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for omission in omitted:
        what = plural(omission.cases, "case")
        if omission.metric is not None:
            what = f"{(omission.title or omission.metric).lower()} of {what}"
        status = "no figure" if omission.status == "ok" else outcome(omission.status, omission.reason)
        style = STATUS_STYLES.get(status, "yellow")
        lengths = length_range(omission.shortest, omission.longest)
        setting = f"{omission.mode}{batch_words(omission.batch)}"
        about = f", {setting}, {lengths} {omission.unit}s: {', '.join(omission.subjects)}"
        lines.append(Text.assemble((status, style), " ", (what, "bold"), about))
        reason = Text(
            omission.reason.removeprefix(f"{NOT_NEEDED}: ") + (" (the numbers differ)" if omission.alike else ""), "dim"
        )
        lines.append(Padding(reason, (0, 0, 0, 2), expand=False))
    return lines

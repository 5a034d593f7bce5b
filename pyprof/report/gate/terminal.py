"""A comparison of two runs in a terminal. What matters most comes last, where the eye is when the text has run by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from pyprof.analysis.curves import Setting
from pyprof.analysis.gate.change import Change
from pyprof.analysis.gate.compare import Gate
from pyprof.analysis.gate.shapes import RatioChange, Shape
from pyprof.analysis.gate.unpaired import Unpaired
from pyprof.analysis.tipping import Tipping
from pyprof.quantity import named, plural
from pyprof.records.indicator import IndicatorFacts
from pyprof.report.gate.view import GateView, headline, trusts
from pyprof.report.gate.words import (
    bounds,
    certainty,
    listed,
    margin_words,
    metric_words,
    percent,
    same_counts,
    setting_of,
    setting_words,
    subject_words,
    summary,
)
from pyprof.report.style import Glyphs, figure, glyphs, interval, rule, usable_width
from pyprof.report.tables import blocks_of
from pyprof.report.trust import STYLES

# As many lines a list has at most; the rest is in the tables and in the JSON document.
MOST_LISTED = 30
_STYLES = {"regression": "bold red", "improvement": "green", "unchanged": "", "open": "dim"} | dict.fromkeys(
    ("too disturbed", "too few samples"), "yellow"
)
_OUTCOMES = {None: "bold", "passed": "bold green", "failed": "bold red", "too disturbed": "bold yellow"}
_MOVES = {"earlier": "green", "later": "red"}


def write(view: GateView, console: Console) -> None:
    """Write the comparison to a console, in its width, colours and encoding."""
    console.print(render(view, console.width, glyphs(console.encoding)))


def render(view: GateView, width: int, marks: Glyphs) -> Group:
    """The whole comparison for a width in columns."""
    width = usable_width(width)
    blocks: list[RenderableType] = [_header(view, marks)]
    gate = view.gate
    if gate is None:
        blocks += [rule("ratios to the vanilla model", width, marks), *_ratios(view.shapes, width, marks)]
    else:
        blocks += [rule("changes of cost in %", width, marks), *_matrices(gate, width, marks)]
    if view.shapes:
        blocks += [rule("tipping points", width, marks), *_tippings(view.shapes, marks)]
    if gate is not None:
        blocks += _unpaired(gate.unpaired, width, marks)
        beyond = margin_words(gate.margin)
        for verdict, title in (("improvement", f"costs less{beyond}"), ("regression", f"costs more{beyond}")):
            changes = [change for change in gate.changes if change.verdict == verdict]
            if changes:
                blocks += [rule(title, width, marks), *_list(gate, verdict, marks)]
    blocks += [rule("outcome", width, marks), *_outcome(view)]
    return Group(*blocks)


def _header(view: GateView, marks: Glyphs) -> RenderableType:
    title = Text.assemble(
        ("pyprof", "bold bright_blue"), f" {marks.dot} ", (view.head, "bold"), " against ", view.baseline
    )
    lines = [title, _verdict(view), *(Text(machine) for machine in view.machines)]
    lines += [Text(f"differs: {each}", "yellow") for each in view.different]
    lines += [Text(f"warning: {warning}", "bold yellow") for warning in view.warnings]
    return Group(*lines)


def _outcome(view: GateView) -> list[RenderableType]:
    gate = view.gate
    lines: list[RenderableType] = []
    if gate is not None:
        lines += [Text(summary(gate)), *(Text(each, "dim") for each in certainty(gate))]
    for name, judged in trusts(view):
        lines.append(Text.assemble((f"{name}: ", "bold"), (judged.sentence, STYLES[judged.level])))
    if view.again is not None:
        lines += [Text(each, "yellow") for each in view.again.advice]
        lines += [Text(f"  {command}", "cyan") for command in view.again.commands]
    return [*lines, _verdict(view)]


def _verdict(view: GateView) -> Text:
    """What it comes to, which stands first and last."""
    outcome = None if view.gate is None else view.gate.outcome
    return Text(headline(view), "bold" if outcome == "passed" and view.fail_over is None else _OUTCOMES[outcome])


def _matrices(gate: Gate, width: int, marks: Glyphs) -> Iterator[RenderableType]:
    """A table for each metric and setting: a row for each length, a column for each model."""
    settings = [setting_of(change) for change in gate.changes]
    groups: dict[tuple[IndicatorFacts, Setting], list[Change]] = {}
    for change, setting in zip(gate.changes, settings, strict=True):
        groups.setdefault((change.indicator, setting), []).append(change)
    legend = f"{marks.spread} the larger half of its 95 % interval; "
    legend += f"{marks.dearer} costs more, {marks.cheaper} costs less{margin_words(gate.margin)}: "
    legend += "shown over all cases together"
    legend += f"; = within {100 * gate.margin:.4g} %" if gate.margin else ""
    yield Text(legend + ("; ? too disturbed to judge" if gate.having("too disturbed") else ""), "dim")
    for (indicator, setting), changes in groups.items():
        if not indicator.exact or any(change.ratio != 1 for change in changes):
            yield Text.assemble((f"\n{indicator.title}", "bold"), f", {setting_words(setting, settings)}")
            yield from _matrix(changes, width, marks)
    same = same_counts(gate)
    if same:
        yield Text(f"\n{same}")


def _matrix(changes: Sequence[Change], width: int, marks: Glyphs) -> Iterator[Grid]:
    subjects = list(dict.fromkeys(subject_words(change) for change in changes))
    lengths = sorted({change.case.length for change in changes})
    cells = {(change.case.length, subject_words(change)): _cell(change, marks) for change in changes}
    columns = [[cells.get((length, subject), Text(marks.dot, "dim")) for length in lengths] for subject in subjects]
    headings = [max(map(len, subject.split(" ", 1))) for subject in subjects]
    for chosen in blocks_of(headings, columns, width - 10):
        grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
        grid.add_column("length", justify="right", no_wrap=True, style="bold", vertical="bottom")
        for index in chosen:
            grid.add_column(_heading(subjects[index]), justify="right", no_wrap=True)
        for number, length in enumerate(lengths):
            grid.add_row(f"{length:,}", *(columns[index][number] for index in chosen))
        yield grid


def _heading(subject: str) -> Text:
    model, _, rest = subject.partition(" ")
    return Text.assemble((model, "bold"), f"\n{rest}")


def _cell(change: Change, marks: Glyphs) -> Text:
    style = _STYLES[change.verdict]
    if change.obstacle == "waits":
        return Text("?", style)  # such a ratio is none
    text = Text(percent(change.ratio).removesuffix(" %"), style)
    if not change.indicator.exact:
        text.append(f" {_spread(change, marks):>5}", "dim")
    return text.append({**_SIGNS, **_directions(marks)}.get(change.verdict, " "), style)


_SIGNS = {"unchanged": "=", "too disturbed": "?"}


def _directions(marks: Glyphs) -> dict[str, str]:
    return {"regression": marks.dearer, "improvement": marks.cheaper}


def _spread(change: Change, marks: Glyphs) -> str:
    if change.low is None or change.high is None:
        return "" if change.verdict == "too disturbed" else f"{marks.spread}?"
    half = 100 * max(change.high - change.ratio, change.ratio - change.low)
    if half >= 99.5:
        return f"{marks.spread}99+"
    return f"{marks.spread}{half:.0f}" if half >= 9.95 else f"{marks.spread}{half:.1f}"


def _list(gate: Gate, verdict: str, marks: Glyphs) -> Iterator[RenderableType]:
    """The changes of one verdict, the largest first within each metric and setting."""
    settings = [setting_of(change) for change in gate.changes]
    groups: dict[str, list[tuple[Change, str]]] = {}
    for change, lengths in listed(change for change in gate.changes if change.verdict == verdict):
        setting = "" if not change.indicator.varies_with_length else f", {setting_words(setting_of(change), settings)}"
        groups.setdefault(change.indicator.title + setting, []).append((change, lengths))
    for title, group in groups.items():
        yield Text(title, "bold")
        grid = Grid.grid(padding=(0, 2, 0, 0))
        for _ in range(4):
            grid.add_column()
        ordered = sorted(group, key=lambda line: line[0].ratio, reverse=verdict == "regression")
        for change, lengths in ordered[:MOST_LISTED]:
            before, after = (figure(change.indicator, value) for value in (change.baseline, change.head))
            sure = bounds(change) + (f" ({change.note})" if change.note else "")
            changed = Text(percent(change.ratio), _STYLES[verdict])
            grid.add_row(
                f"  {subject_words(change)} {lengths}", f"{before} {marks.arrow} {after}", changed, Text(sure, "dim")
            )
        yield grid
        if len(ordered) > MOST_LISTED:
            yield Text(f"  and {len(ordered) - MOST_LISTED} more, in the tables above", "dim")


def _unpaired(unpaired: Sequence[Unpaired], width: int, marks: Glyphs) -> Iterator[RenderableType]:
    titles = {
        "new": "measured in the head only",
        "mended": "failed in the baseline, measured in the head",
        "lost": "not measured in the head",
        "broken": "failed in the head, measured in the baseline",
    }
    for kind, title in titles.items():
        groups: dict[tuple[IndicatorFacts | None, str | None, bool], list[Unpaired]] = {}
        for outcome in unpaired:
            if outcome.kind == kind:
                other = outcome.head if kind in ("lost", "broken") else outcome.baseline
                groups.setdefault((outcome.indicator, other, outcome.allowed), []).append(outcome)
        if groups:
            yield rule(title, width, marks)
        for (indicator, status, _), group in groups.items():
            yield _unpaired_line(group, indicator, status, "bold red" if group[0].is_missing else "yellow")


def _unpaired_line(group: Sequence[Unpaired], indicator: IndicatorFacts | None, status: str | None, style: str) -> Text:
    what = plural(len(group), "case")
    what = what if indicator is None else f"{indicator.title.lower()} of {what}"
    cases = [f"{subject_words(outcome)} {outcome.case.length:,} {outcome.case.mode}" for outcome in group]
    state = (status or "not in the run") + (", allowed" if group[0].allowed else "")
    text = Text.assemble((what, style), f" ({state}): {named(cases, 6)}")
    reason = next((outcome.reason for outcome in group if outcome.reason), None)
    return text.append(f"\n  {reason}", "dim") if reason else text


def _tippings(shapes: Sequence[Shape], marks: Glyphs) -> Iterator[RenderableType]:
    """Latency always, other metrics where something moved."""
    yield Text(
        "the length from which the variant costs less [95 % interval]; = not shown to have moved, ? cannot be told",
        "dim",
    )
    shown = [shape for shape in shapes if shape.indicator.headline or shape.move in _MOVES]
    settings = [shape.setting for shape in shapes]
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    for title in ("variant against vanilla", "metric", "baseline", "head", ""):
        grid.add_column(title)
    for shape in shown:
        pair = shape.comparison
        grid.add_row(
            Text.assemble((pair.variant, "bold"), f" {pair.variant_how}, {pair.vanilla} {pair.vanilla_how}"),
            metric_words(shape, settings),
            _tipping(shape.baseline, marks),
            _tipping(shape.head, marks),
            Text(
                shape.move if shape.move in _MOVES else "=" if shape.move.startswith("not") else "?",
                _MOVES.get(shape.move, "dim"),
            ),
        )
    yield grid


def _tipping(tipping: Tipping, marks: Glyphs) -> str:
    crossing = tipping.crossing
    if crossing is None:
        return "?" if tipping.status in ("undetermined", "not measured") else tipping.status
    return f"{crossing.length:,.0f} {interval(crossing.low, crossing.high, marks.dash)}"


def _ratios(shapes: Sequence[Shape], width: int, marks: Glyphs) -> Iterator[RenderableType]:
    """The ratios of both runs at each length, one table for each comparison and metric."""
    yield Text(
        f"the variant's cost in units of its vanilla model's [95 % interval]; {marks.dearer} or {marks.cheaper} "
        "shown to have changed, over all ratios of a metric together",
        "dim",
    )
    settings = [shape.setting for shape in shapes]
    for shape in shapes:
        if shape.indicator.exact and not any(ratio.shown for ratio in shape.ratios):
            continue
        pair = shape.comparison
        yield Text.assemble(
            (f"\n{pair.variant}", "bold"),
            f" {pair.variant_how} against {pair.vanilla} {pair.vanilla_how}, ",
            metric_words(shape, settings),
        )
        grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
        for title in ("length", "baseline", "head", "change"):
            grid.add_column(title, justify="right")
        for ratio in shape.ratios:
            grid.add_row(f"{ratio.length:,}", *_ratio_cells(ratio, marks))
        yield grid


def _ratio_cells(ratio: RatioChange, marks: Glyphs) -> Iterable[Text]:
    for point in (ratio.baseline, ratio.head):
        known = point.low is not None and point.high is not None
        yield Text.assemble(
            f"{point.ratio:.3f}", (f" [{point.low:.3f}{marks.dash}{point.high:.3f}]" if known else " [?]", "dim")
        )
    sign = (marks.dearer if ratio.change > 1 else marks.cheaper) if ratio.shown else " "
    yield Text(percent(ratio.change) + sign, "" if not ratio.shown else "red" if ratio.change > 1 else "green")

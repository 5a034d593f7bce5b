"""A comparison of two runs as Markdown for a pull request: the outcome first, what is fine folded away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pyprof.analysis.gate.change import Change
from pyprof.analysis.gate.compare import Gate
from pyprof.analysis.gate.shapes import Shape
from pyprof.analysis.gate.unpaired import Unpaired
from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.tipping import Tipping
from pyprof.report.gate.view import GateView, headline, trusts
from pyprof.report.gate.words import (
    bounds,
    certainty,
    listed,
    margin_words,
    metric_words,
    outcome_words,
    percent,
    same_counts,
    setting_of,
    setting_words,
    subject_words,
    summary,
)
from pyprof.report.style import figure, interval, plural

_CHANGES = ("case", "metric", "baseline", "head", "change", "95 % interval")
_SIDES = ("---", "---", "---:", "---:", "---:", ":---")


def markdown(view: GateView) -> str:
    """The whole comparison."""
    gate = view.gate
    lines = [f"### pyprof: {_escaped(headline(view))}", ""]
    warnings = [*view.warnings, *(f"{name}: {each.sentence}" for name, each in trusts(view) if each.level != "trust")]
    lines += [f"> **Warning:** {_escaped(warning)}" for warning in warnings]
    if view.again is not None:
        lines += [_escaped(each) for each in view.again.advice]
        lines += ["", *(["```sh", *view.again.commands, "```", ""] if view.again.commands else ())]
    if gate is not None:
        lines += _changes(gate)
    lines += _tippings(view.shapes)
    if gate is None:
        lines += _ratios(view.shapes)
    lines += ["<sub>", *(f"{_escaped(each)}<br>" for each in _small(view)), "</sub>"]
    return "\n".join(lines) + "\n"


def _small(view: GateView) -> Iterator[str]:
    yield f"{view.head} against {view.baseline}; " + "; ".join(view.machines)
    yield from (f"{name}: {judged.sentence}" for name, judged in trusts(view) if judged.level == "trust")
    if view.different:
        yield "differs: " + "; ".join(view.different)
    if view.gate is not None:
        yield summary(view.gate)
        yield from certainty(view.gate)


def _changes(gate: Gate) -> Iterator[str]:
    beyond = margin_words(gate.margin)
    worse, better = gate.having("regression"), gate.having("improvement")
    if worse:
        yield from _table(f"#### Costs more{beyond}", _CHANGES, _rows(gate, worse), _SIDES)
    if gate.missing:
        yield from _table("#### Missing or failed in the head", ("case", "status", "reason"), _outcomes(gate.missing))
    disturbed = gate.having("too disturbed")
    if disturbed:
        yield from _folded(f"Too disturbed to judge: {len(disturbed)}", _CHANGES, _rows(gate, disturbed), _SIDES)
    if better:
        yield from _folded(f"Costs less{beyond}: {len(better)}", _CHANGES, _rows(gate, better), _SIDES)
    same = same_counts(gate)
    if same:
        yield f"{same}."
        yield ""
    shown = ("regression", "improvement", "too disturbed")
    rest = [
        change
        for change in gate.changes
        if change.verdict not in shown and not (change.indicator.exact and change.ratio == 1)
    ]
    if rest:
        yield from _folded(f"No change shown: {len(rest)}", _CHANGES, _rows(gate, rest), _SIDES)
    others = [outcome for outcome in gate.unpaired if not outcome.is_missing]
    if others:
        title = f"In one run only: {plural(len(others), 'case')}"
        yield from _folded(title, ("case", "status", "reason"), _outcomes(others))


def _rows(gate: Gate, changes: Sequence[Change]) -> Iterator[Sequence[str]]:
    settings = [setting_of(change) for change in gate.changes]
    for change, lengths in listed(changes):
        what = change.indicator.title.lower()
        if change.indicator.varies_with_length:
            what += f", {setting_words(setting_of(change), settings)}"
        yield (
            f"**{_escaped(subject_words(change))}** {lengths}",
            what,
            figure(change.indicator, change.baseline),
            figure(change.indicator, change.head),
            percent(change.ratio),
            bounds(change) + (f", {change.note}" if change.note else ""),
        )


def _outcomes(unpaired: Iterable[Unpaired]) -> Iterator[Sequence[str]]:
    for outcome in unpaired:
        statuses = f"{outcome.baseline or 'none'} → {outcome.head or 'none'}"
        yield (
            _escaped(outcome_words(outcome)),
            statuses if outcome.indicator is None else outcome.kind,
            _escaped(outcome.reason or ""),
        )


def _tippings(shapes: Sequence[Shape]) -> Iterator[str]:
    titles = ("variant", "vanilla", "metric", "baseline", "head", "")
    settings = [shape.setting for shape in shapes]
    moved: list[Sequence[str]] = []
    still: list[Sequence[str]] = []
    for shape in shapes:
        pair = shape.comparison
        row = (
            _escaped(f"**{pair.variant}** {pair.variant_how}"),
            _escaped(f"{pair.vanilla} {pair.vanilla_how}"),
            _escaped(metric_words(shape, settings)),
            _tipping(shape.baseline),
            _tipping(shape.head),
            shape.move,
        )
        (moved if shape.move in ("earlier", "later") else still).append(row)
    if moved:
        yield from _table("#### Tipping points that moved", titles, moved)
    if still:
        yield from _folded(f"Tipping points not shown to have moved: {len(still)}", titles, still)


def _tipping(tipping: Tipping) -> str:
    crossing = tipping.crossing
    if crossing is None:
        return tipping.status
    return f"{crossing.length:,.0f} {interval(crossing.low, crossing.high)}"


def _ratios(shapes: Sequence[Shape]) -> Iterator[str]:
    settings = [shape.setting for shape in shapes]
    for shape in shapes:
        pair = shape.comparison
        title = (
            f"{pair.variant} {pair.variant_how} against {pair.vanilla} {pair.vanilla_how}, "
            f"{metric_words(shape, settings)}"
        )
        rows = [
            (f"{ratio.length:,}", _point(ratio.baseline), _point(ratio.head), percent(ratio.change), shown)
            for ratio in shape.ratios
            for shown in ("changed" if ratio.shown else "",)
        ]
        yield from _folded(title, ("length", "baseline", "head", "change", ""), rows)


def _point(point: RatioPoint) -> str:
    known = point.low is not None and point.high is not None
    return f"{point.ratio:.3f} [{point.low:.3f}–{point.high:.3f}]" if known else f"{point.ratio:.3f}"


def _table(
    title: str, titles: Sequence[str], rows: Iterable[Sequence[str]], sides: Sequence[str] = ()
) -> Iterator[str]:
    """A heading and a table with an empty line behind it."""
    yield from ([title, ""] if title else [])
    yield _line(titles)
    yield _line(sides or ["---"] * len(titles))
    for row in rows:
        yield _line([cell.replace("|", "\\|").replace("\n", " ") for cell in row])
    yield ""


def _folded(
    title: str, titles: Sequence[str], rows: Iterable[Sequence[str]], sides: Sequence[str] = ()
) -> Iterator[str]:
    yield f"<details><summary>{_escaped(title)}</summary>"
    yield ""
    yield from _table("", titles, rows, sides)
    yield "</details>"
    yield ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


# A bracket begins a link or an image.
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "[": "&#91;"})


def _escaped(text: str) -> str:
    """Text that is not taken for markup: names come from the user's files."""
    return text.translate(_ENTITIES)

"""What a page begins with: which model to take for which length, and from which length each variant pays off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pyprof.analysis.published import Agreement
from pyprof.quantity import format_seconds
from pyprof.records.comparison import Comparison
from pyprof.records.indicator import IndicatorFacts
from pyprof.report.charts.chart import Chart
from pyprof.report.charts.least import leaders_words, least_charts
from pyprof.report.page.document import figure
from pyprof.report.page.markup import Markup, Part, grid, tag
from pyprof.report.ranking import LONG, verdict
from pyprof.report.several import Several
from pyprof.report.style import Glyphs, length_range, plural
from pyprof.report.tipping_table import plain_verdict, published, senses
from pyprof.report.view import LeastLine, ModalityView, TippingLine, View

_MARKS = Glyphs()
_AGREED: Mapping[Agreement, str] = {
    "agrees": "as published",
    "earlier": "earlier than published",
    "later": "later than published",
    "new": "none was published",
}


def answers(told: Several) -> tuple[list[Part], list[Chart]]:
    """The answers of all runs, and the charts in them."""
    parts: list[Part] = []
    charts: list[Chart] = []
    for name, view in zip(told.names, told.views, strict=True):
        if len(told.views) > 1:
            parts.append(tag("h3", name))
        parts += _one_length(view)
        parts += _tipping_cards(view)
        for part in view.modalities:
            own = least_charts(name if len(told.views) > 1 else "", part)
            if own:
                charts += own
                parts.append(tag("h3", f"{part.name.capitalize()}: which model for which length"))
                parts.append(_least_list(part))
                parts.append(tag("div", map(figure, own), class_="charts wide"))
    if not parts:
        parts.append(tag("p", "Nothing was measured that could be compared; below stands what was asked for and why."))
    return parts, charts


def _one_length(view: View) -> Iterable[Markup]:
    """Where there is one length only: the ranking."""
    for part in view.modalities:
        if not (part.one_length and part.rankings):
            continue
        yield tag("h3", f"{part.name.capitalize()}: which model costs least at {part.lengths[0]:,} {part.unit}s")
        said = [
            tag("li", tag("strong", f"{line.indicator.title}, {line.mode}, {line.name}: "), verdict(line, _MARKS).plain)
            for line in part.rankings
        ]
        yield tag("ul", said)
        if view.longer is not None and any(line.longer for line in part.rankings if line.indicator.headline):
            if view.longer.seconds > LONG:
                yield tag("p", "What is not shown would take hours: measure again while the machine is quieter.")
            else:
                needed = format_seconds(view.longer.seconds)
                yield tag(
                    "p", f"To tell what is not shown, measure about {needed} longer: ", tag("code", view.longer.command)
                )


def _tipping_cards(view: View) -> Iterable[Markup]:
    """A card for each indicator: a line for each variant and sense, a column for each mode."""
    lines = [line for part in view.modalities for line in part.tipping]
    by_indicator: dict[IndicatorFacts, list[TippingLine]] = {}
    for line in lines:
        by_indicator.setdefault(line.indicator, []).append(line)
    if not by_indicator:
        return
    said = senses({line.comparison.name: line.comparison.conditions for line in lines})
    yield tag(
        "p",
        "The length from which a variant costs less than its vanilla model, to the end of what was measured, "
        "with its 95 % interval; a question mark is an end that is not known. ",
        "; ".join(said) + ("." if said else ""),
    )
    yield tag("div", [_card(indicator, own) for indicator, own in by_indicator.items()], class_="answers")
    if any(line.time_was_up for line in lines):
        yield tag(
            "p",
            "No time: the study's time was up before. ",
            [("This goes on: ", tag("code", view.resume))] if view.resume else None,
        )


def _card(indicator: IndicatorFacts, lines: Sequence[TippingLine]) -> Markup:
    heads = list(dict.fromkeys((line.mode, line.setting) for line in lines))
    rows: dict[tuple[str, Comparison], dict[tuple[str, str], TippingLine]] = {}
    for line in lines:
        rows.setdefault((line.comparison.variant, line.comparison), {})[line.mode, line.setting] = line
    body = []
    for (variant, comparison), own in rows.items():
        first = next(iter(own.values()))
        cells = [_verdict(own[head]) if head in own else "–" for head in heads]
        under = tag("small", f"under {comparison.vanilla} {comparison.vanilla_how}")
        unit = tag("small", f"({comparison.unit}s)")
        body.append(
            [
                (variant, " ", under),
                (comparison.sense, " ", unit),
                *cells,
                tag("span", published(first, _MARKS).plain, class_="verdict"),
            ]
        )
    titles = [", ".join(filter(None, head)) for head in heads]
    title = indicator.title + (f" {indicator.scope}" if indicator.scope else "")
    inner = grid(["variant", "sense", *titles, "2023"], body, caption=f"{title}: costs less from")
    return tag("div", inner, class_="card")


def _verdict(line: TippingLine) -> Part:
    text = plain_verdict(line, _MARKS).plain
    if text == "?":
        text = "not shown"
    head, _, rest = text.partition(" ")
    if text in ("no time", "not shown"):
        return tag("span", text, class_="faint")
    good = line.tipping.crossing is not None or line.tipping.status == "everywhere"
    agreed = (" ", tag("small", _AGREED[line.agreement])) if line.agreement else None
    found = tag("span", tag("span", head, class_="good" if good else None), " ", tag("small", rest), class_="verdict")
    return found, agreed


def _least_list(part: ModalityView) -> Markup:
    """The headline indicators in words."""
    lines = [line for line in part.least if line.indicator.headline and line.reigns]
    return tag(
        "ul",
        [
            tag("li", tag("strong", f"{line.indicator.title}, {_where(line)}: "), _reigns(line, part.unit))
            for line in lines
        ],
    )


def _where(line: LeastLine) -> str:
    return ", ".join(filter(None, (line.mode, line.name, line.setting)))


def _reigns(line: LeastLine, unit: str) -> str:
    said = [f"{leaders_words(reign.leaders)} at {length_range(reign.shortest, reign.longest)}" for reign in line.reigns]
    return "; ".join(said) + f" {unit}s"


def in_one_line(view: View) -> str:
    """What the run is: how many cases became what, in how long."""
    counts = ", ".join(f"{count:,} {status}" for status, count in view.counts.items())
    return (
        f"{plural(sum(view.counts.values()), 'case')}: {counts or 'none'}; {format_seconds(view.seconds)} of measuring"
    )

"""The pages of two comparisons: of two models timed in turn, and of two runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pyprof.analysis.gate.change import VERDICTS, Change
from pyprof.quantity import format_seconds, plural
from pyprof.report.charts.intervals import Line, bounds, distinct, intervals_chart
from pyprof.report.charts.rounds import rounds_chart
from pyprof.report.gate.view import headline, trusts
from pyprof.report.gate.words import subject_words
from pyprof.report.page.document import simple_page
from pyprof.report.page.judged import doubt
from pyprof.report.page.markup import Markup, Part, grid, tag
from pyprof.report.style import batch_words, figure, interval

if TYPE_CHECKING:
    from pyprof.report.charts.chart import Chart
    from pyprof.report.gate.models import ModelComparison
    from pyprof.report.gate.view import GateView
    from pyprof.statistics.estimate import Estimate

# As many cases of one indicator are drawn, what changed most surely first; the table has all.
MOST_LINES = 60
_COLOURS = {"regression": "bad", "improvement": "good", "too disturbed": "care"}
_CLASSES = {"regression": "bad", "improvement": "good", "too disturbed": "care", "too few samples": "care"}


def models_page(compared: ModelComparison) -> str:
    """The page of two models; raises UsageError where vl-convert is not installed."""
    paired, setting = compared.paired, compared.setting
    class_ = {"faster": "good", "slower": "bad"}.get(paired.verdict)
    what = f"{setting['length']:,} {setting['unit']}s, batch {setting['batch']}, {setting['mode']}, {setting['dtype']}"
    rows = [
        [name, format_seconds(seconds.value), _interval(seconds)]
        for name, seconds in ((compared.baseline, paired.seconds_a), (compared.head, paired.seconds_b))
    ]
    rows.append(["ratio", f"{paired.ratio.value:.4f}", bounds(paired.ratio.low, paired.ratio.high, 5).strip(" []")])
    said: list[Part] = [
        tag("p", tag("strong", f"{compared.sentence}.", class_=None if compared.is_too_disturbed else class_)),
        doubt(paired.trust),
        tag(
            "p",
            f"{setting['size']}, {what}, on {setting['device']}; {paired.pairs:,} rounds in random order "
            f"in {format_seconds(paired.elapsed_seconds)}, ended by {paired.stopped_by}.",
            class_="faint",
        ),
        grid(["", "median", "interval"], rows, caption="A step of each"),
        *(tag("p", note, class_="faint") for note in compared.notes),
    ]
    title = f"pyprof: {compared.head} against {compared.baseline}"
    return simple_page(title, said, [rounds_chart(paired, compared.baseline, compared.head)])


def runs_page(view: GateView) -> str:
    """The page of two runs; raises UsageError where vl-convert is not installed."""
    class_ = {"failed": "bad", "passed": "good", "too disturbed": "care"}.get(view.outcome or "")
    said: list[Part] = [
        tag("p", tag("strong", headline(view), class_=class_)),
        *(doubt(judged, name) for name, judged in trusts(view)),
        *(tag("p", machine, class_="faint") for machine in view.machines),
        *(tag("p", f"differs: {each}", class_="care") for each in view.different),
        *(tag("p", warning, class_="care") for warning in view.warnings),
        *_tipping(view),
        *_changes(view),
    ]
    return simple_page(f"pyprof: {view.head} against {view.baseline}", said, list(_charts(view)))


def _charts(view: GateView) -> Iterator[Chart]:
    """A chart for each indicator of which something can have changed."""
    if view.gate is None:
        for number, shape in enumerate(view.shapes):
            names = distinct(f"{shape.setting.mode} {each.length:,}" for each in shape.ratios)
            lines = [
                Line(name, each.change, each.low, each.high, f"{each.change:.3g}{bounds(each.low, each.high)}",
                     "series-1" if each.shown else "series-0")
                for name, each in zip(names, shape.ratios, strict=True)
            ]  # fmt: skip
            title = f"{shape.indicator.title}: {shape.comparison.variant} in units of {shape.comparison.vanilla}"
            yield intervals_chart(f"ratio-{number}", f"{title} ({shape.comparison.name})", lines[:MOST_LINES],
                                  "change of the ratio, 1 is none", at=1.0, scale={"type": "log"})  # fmt: skip
        return
    indicators = dict.fromkeys(change.indicator for change in view.gate.changes)
    for number, indicator in enumerate(indicators):
        changes = [change for change in view.gate.changes if change.indicator == indicator]
        if indicator.exact and all(change.ratio == 1 for change in changes):
            continue
        shown = sorted(changes, key=_order)[:MOST_LINES]
        names = distinct(_case_words(change) for change in shown)
        lines = [
            Line(name, change.ratio, change.low, change.high,
                 f"{change.ratio:.3g}{bounds(change.low, change.high)}, {change.verdict}",
                 _COLOURS.get(change.verdict, "series-0"))
            for name, change in zip(names, shown, strict=True)
        ]  # fmt: skip
        left_out = len(changes) - len(shown)
        caption = f"{plural(left_out, 'case')} with smaller changes left out." if left_out else ""
        title = f"{indicator.title}: {view.head} in units of {view.baseline}"
        yield intervals_chart(f"change-{number}", title, lines, "times the cost, 95 % interval", at=1.0,
                              scale={"type": "log"}, caption=caption)  # fmt: skip


def _changes(view: GateView) -> Iterable[Markup]:
    if view.gate is None or not view.gate.changes:
        return
    rows = [
        [
            _case_words(change),
            change.indicator.title.lower(),
            tag("span", change.verdict, class_=_CLASSES.get(change.verdict)),
            figure(change.indicator, change.baseline),
            figure(change.indicator, change.head),
            f"{change.ratio:.3g}{bounds(change.low, change.high)}",
        ]
        for change in sorted(view.gate.changes, key=_order)
    ]
    heads = ["case", "indicator", "verdict", "baseline", "head", "times the cost"]
    yield tag("details", tag("summary", "All cases as a table"), grid(heads, rows, caption="Changes of cost"))


def _tipping(view: GateView) -> Iterable[Markup]:
    if not view.shapes:
        return
    rows = []
    for shape in view.shapes:
        points = [
            each.status if each.crossing is None
            else f"{each.crossing.length:,.0f} {interval(each.crossing.low, each.crossing.high)}"
            for each in (shape.baseline, shape.head)
        ]  # fmt: skip
        names = f"{shape.comparison.variant} against {shape.comparison.vanilla} ({shape.comparison.name})"
        rows.append([names, shape.setting.mode, shape.indicator.title.lower(), *points, shape.move])
    heads = ["comparison", "mode", "indicator", "baseline", "head", "moved"]
    yield grid(heads, rows, caption="The length from which the variant costs less")


def _order(change: Change) -> tuple[int, float]:
    return VERDICTS.index(change.verdict), -abs(change.ratio - 1)


def _case_words(change: Change) -> str:
    case = change.case
    return f"{subject_words(change)} {case.mode} {case.length:,}{batch_words(case.batch)}"


def _interval(estimate: Estimate) -> str:
    return "" if estimate.interval is None else " to ".join(map(format_seconds, estimate.interval))

"""Where indicators disagree: their orders of the models pair by pair, the models from one to the next, and fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyprof.records.indicator import IndicatorFacts
from pyprof.report.charts.chart import Chart, Group
from pyprof.report.charts.front import Axes, Measure, Point, Standing, front_chart
from pyprof.report.charts.names import chart_name, column_words
from pyprof.report.charts.pairs import Pair, pairs_chart
from pyprof.report.charts.slopes import Slope, slopes_chart
from pyprof.report.view import ModalityView
from pyprof.report.view_column import Column
from pyprof.report.view_disagreement import DisagreementLine, FrontLine, IndicatorVerdict, TauCell

MOST_GROUPS, MOST_FRONTS, MOST_SENTENCES = 2, 2, 4
_STANDINGS: Mapping[str, Standing] = {"member": "member", "near": "near", "dominated": "dominated"}


def disagreement_groups(part: ModalityView, indicators: Sequence[IndicatorFacts], run: str = "") -> list[Group]:
    """A group for each sense and mode in which two indicators are shown to disagree, at its longest length, best first:
    each model's best implementation before the others, and no more than two.
    """
    last = {(line.name, line.mode, line.setting): line for line in part.disagreements}
    shown = [line for line in last.values() if any(contrast.reversed for contrast in line.contrasts)]
    shown.sort(key=lambda line: line.name != "now")
    titles = {each.name: each.title for each in indicators}
    return [_group(line, part, titles, run) for line in shown[:MOST_GROUPS]]


def _group(line: DisagreementLine, part: ModalityView, titles: Mapping[str, str], run: str) -> Group:
    """The slopes, the matrix where there are three indicators or more, and the first fronts.

    All costs are in units of the vanilla model's, or of the first one's where there is none.
    """
    where = ", ".join(filter(None, (line.name, line.mode, line.setting, f"{line.length:,} {part.unit}s", run)))
    base = next((column for column in line.columns if column.vanilla), line.columns[0])
    costs = _costs(line, base)
    name = chart_name("disagree", part.name, line.name, line.mode, line.setting, line.length, run)
    charts = [_slopes(f"{name}-slopes", line, base, costs, titles)]
    if len(line.metrics) > 2:
        charts.append(_matrix(f"{name}-tau", "How the indicators agree", line.concordances, titles))
        for side, cells in (("within", line.within), ("between", line.between)):
            if cells:
                charts.append(_matrix(f"{name}-tau-{side}", f"How they agree {side} families", cells, titles))
    charts += [
        _front(f"{name}-front-{number}", each, base, costs, titles)
        for number, each in enumerate(line.fronts[:MOST_FRONTS])
    ]
    sentences = [contrast.sentence for contrast in line.contrasts if contrast.reversed and contrast.sentence]
    caption = "; ".join(sentences[:MOST_SENTENCES])
    return Group(name, f"{part.name.capitalize()}: {where}", tuple(charts), caption=f"{caption}.", wide=True)


_Costs = Mapping[Column, Mapping[str, Measure]]


def _costs(line: DisagreementLine, base: Column) -> _Costs:
    """Every model's cost by each indicator in units of one model's, from the pairs that it is in."""
    costs: dict[Column, dict[str, Measure]] = {base: {metric: Measure(1.0) for metric in line.metrics}}
    for contrast in line.contrasts:
        if contrast.second == base:
            costs[contrast.first] = {each.metric: _measure(each) for each in contrast.verdicts}
        elif contrast.first == base:
            costs[contrast.second] = {each.metric: _turned(_measure(each)) for each in contrast.verdicts}
    return costs


def _measure(verdict: IndicatorVerdict) -> Measure:
    return Measure(verdict.ratio, verdict.low, verdict.high)


def _turned(measure: Measure) -> Measure:
    low, high = (None if bound is None else 1 / bound for bound in (measure.high, measure.low))
    return Measure(1 / measure.value, low, high)


def _slopes(name: str, line: DisagreementLine, base: Column, costs: _Costs, titles: Mapping[str, str]) -> Chart:
    slopes = [
        Slope(column_words(column), titles.get(metric, metric), own[metric].value, own[metric].low, own[metric].high)
        for column, own in costs.items()
        for metric in line.metrics
        if metric in own
    ]
    caption = "Where lines cross, two indicators order two models differently."
    return slopes_chart(
        name, "The models by indicator", slopes, f"times the cost of {column_words(base)}"[:70], caption=caption
    )


def _matrix(name: str, title: str, cells: Sequence[TauCell], titles: Mapping[str, str]) -> Chart:
    pairs = [_pair(cell, titles) for cell in cells]
    caption = (
        "Kendall's tau: 1 where two indicators order the models alike, -1 where one has the reverse of the other's "
        "order."
    )
    return pairs_chart(name, title, pairs, caption=caption, pointer="A pointer tells what it may be with the noise.")


def _pair(cell: TauCell, titles: Mapping[str, str]) -> Pair:
    said = f"{cell.reversals} of {cell.pairs} pairs of models change places"
    one, other = (titles.get(each, each) for each in (cell.one, cell.other))
    return Pair(one, other, cell.tau, cell.low, cell.high, said)


def _front(name: str, front: FrontLine, base: Column, costs: _Costs, titles: Mapping[str, str]) -> Chart:
    points = [
        Point(
            column_words(place.column),
            costs[place.column][front.one],
            costs[place.column][front.other],
            _STANDINGS.get(place.standing, ""),
            said=f"by {', '.join(map(column_words, place.by))}" if place.by else "",
        )
        for place in front.places
        if front.one in costs.get(place.column, {}) and front.other in costs[place.column]
    ]
    one, other = (titles.get(each, each) for each in (front.one, front.other))
    of = column_words(base)
    axes = Axes(f"{one.lower()}, times that of {of}"[:70], f"{other.lower()}, times that of {of}"[:70])
    return front_chart(name, f"{one} against {other.lower()}", points, axes)

"""A run and the report of one in a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pyprof.report.notebook.parts import faint, folded, result, table
from pyprof.report.page.markup import Markup, Part, tag
from pyprof.report.run import machine_line
from pyprof.report.short_names import ShortNames
from pyprof.report.style import figure, interval, length_range, plural

if TYPE_CHECKING:
    from pyprof.records.indicator import IndicatorFacts
    from pyprof.records.record import Record
    from pyprof.records.run_directory import Run
    from pyprof.report.view import LeastLine, RankingLine, TippingLine, View

MOST_ROWS = 20


def run(shown: Run) -> str:
    """What was measured, and the first of the records; the others are in `to_pandas()`."""
    records = list(shown.records.values())
    indicators = [
        each for each in shown.resolved.indicators if any(each.name in record.indicators for record in records)
    ]
    settings = [name for name in ("size", "dtype", "device") if len({getattr(each.case, name) for each in records}) > 1]
    heads = ["model", "attention", "mode", *settings, "length", "batch", "status", *map(_heading, indicators)]
    names = ShortNames.of(record.case.model for record in records)
    rows = [_row(record, names, settings, indicators) for record in records[:MOST_ROWS]]
    more = len(records) - len(rows)
    said = [f"{plural(more, 'more record')}: run.to_pandas() has them all"] if more else []
    counts = Counter(str(record.status) for record in records)
    return result(
        ["run of the study ", tag("b", shown.study.name), f": {plural(len(records), 'case')}{_counted(counts)}"],
        faint(machine_line(shown.environment)),
        table(heads, rows, text=3 + len(settings)) if rows else None,
        *(faint(each) for each in (*said, *shown.warnings[:5], *names.legend())),
    )


def report(view: View) -> str:
    """The answers of a report: from which length each variant costs less, or which model costs least."""
    names = ShortNames.of_views([view])
    view = names.within(view)
    tipping = [line for part in view.modalities for line in part.tipping if line.indicator.headline]
    others = [line for part in view.modalities for line in part.tipping if not line.indicator.headline]
    rankings = [line for part in view.modalities if part.one_length for line in part.rankings]
    least = [line for part in view.modalities for line in part.least if line.reigns]
    trust = [view.trust.sentence] if view.trust is not None and view.trust.level != "trust" else []
    return result(
        [
            "report of the study ",
            tag("b", view.study),
            f": {plural(sum(view.counts.values()), 'case')}{_counted(view.counts)}",
        ],
        faint(view.machine),
        _tipping(tipping) if tipping else None,
        _rankings(rankings) if rankings else None,
        folded("other indicators", _tipping(others)) if others else None,
        folded("which model costs least, at which lengths", _least(least)) if least else None,
        *(faint(each) for each in (*trust, *view.warnings[:5], *names.legend())),
    )


def _counted(counts: Mapping[str, int]) -> str:
    told = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
    return f" ({told})" if set(counts) - {"ok"} else ""


def _heading(indicator: IndicatorFacts) -> str:
    return indicator.title.lower()


def _row(
    record: Record, names: ShortNames, settings: Sequence[str], indicators: Sequence[IndicatorFacts]
) -> list[Part]:
    case = record.case
    own: list[Part] = [names(case.model), record.attention or case.attention, case.mode]
    own += [str(getattr(case, name)) for name in settings]
    own += [case.length, str(case.batch), tag("span", record.status, title=record.reason)]
    for indicator in indicators:
        reading = record.indicators.get(indicator.name)
        if reading is None or reading.value is None:
            own.append(tag("span", "–", title=None if reading is None else reading.reason))
        else:
            bounds = None if reading.low is None or reading.high is None else (reading.low, reading.high)
            title = bounds and f"95 % interval {' – '.join(figure(indicator, bound) for bound in bounds)}"
            own.append(tag("span", figure(indicator, reading.value), title=title))
    return own


def _tipping(lines: Sequence[TippingLine]) -> Markup:
    heads = ("variant", "against", "compared", "mode", "indicator", "costs less from", "95 % interval", "published")
    return table(heads, map(_tipping_row, lines), text=5)


def _tipping_row(line: TippingLine) -> list[Part]:
    comparison, tipping, published = line.comparison, line.tipping, line.published
    own: list[Part] = [tag("b", comparison.variant), comparison.vanilla, comparison.name]
    own += [f"{line.mode} {line.setting}".rstrip(), line.indicator.title.lower()]
    if tipping.crossing is not None:
        own += [tag("b", f"{tipping.crossing.length:,.0f} {comparison.unit}s")]
        own += [interval(tipping.crossing.low, tipping.crossing.high)]
    else:
        known = line.shortest is not None and line.longest is not None
        ends = f" ({length_range(line.shortest or 0, line.longest or 0)})" if known else ""
        own += [tag("span", "no time" if line.time_was_up else f"{tipping.status}{ends}", title=tipping.reason), ""]
    if published is None or published.low is None or published.high is None:
        return [*own, "" if published is None else "none"]
    return [*own, f"{published.low:,}–{published.high:,}"]


def _rankings(lines: Sequence[RankingLine]) -> Markup:
    heads = ("compared", "mode", "indicator", "model", "costs", "times the least", "95 % interval")
    return table(heads, (row for line in lines for row in _places(line)), text=4)


def _places(line: RankingLine) -> Iterator[list[Part]]:
    for number, place in enumerate(line.places):
        first = [line.name, f"{line.mode} {line.setting}".rstrip(), line.indicator.title.lower()]
        bounds = (
            ""
            if place.low is None or place.high is None or place.low == place.high
            else f"{place.low:.2f} – {place.high:.2f}"
        )
        name = f"{place.column.model} {place.column.attention}"
        yield [
            *(["", "", ""] if number else first),
            tag("b", name) if place.column in line.leaders else name,
            figure(line.indicator, place.value),
            "" if place.ratio is None else f"{place.ratio:.2f}{'' if place.shown else ' ?'}",
            bounds,
        ]


def _least(lines: Sequence[LeastLine]) -> Markup:
    rows: list[list[Part]] = []
    for line in lines:
        for reign in line.reigns:
            names = " or ".join(f"{each.model} {each.attention}" for each in reign.leaders)
            mode = f"{line.mode} {line.setting}".rstrip()
            rows.append(
                [line.name, mode, line.indicator.title.lower(), names, length_range(reign.shortest, reign.longest)]
            )
    return table(("compared", "mode", "indicator", "least", "lengths"), rows, text=4)

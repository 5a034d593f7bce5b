"""The page of matched configurations: what each match costs beside the model that it was matched to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyprof.report.charts.matched import Matched, matched_group
from pyprof.report.matching import COSTS, latency_verdict, latency_words, sizes_words, times
from pyprof.report.page.document import document, group, heading
from pyprof.report.page.markup import Markup, Part, grid, tag

_LATENCY = "latency"
_TITLES = {name: title for title, name, _ in COSTS}


def matching_page(model: str, to: str, setting: str, columns: Sequence[Mapping[str, Any]]) -> str:
    """The page of the columns that `pyprof match --json` prints, the target first; `setting` says what they are of.

    Raises UsageError where vl-convert is not installed.
    """
    target, *matches = columns
    reading = (
        f"Each chart has {model} at sizes that make it equal to {to} in one cost, the grey one: what lies right of the "
        f"dashed line costs more than {to}, what lies left of it less. Latency is timed, both in turn, and has its "
        "95 % interval; all else is counted."
    )
    drawn = matched_group(
        "matched",
        f"{model.capitalize()} in units of {to}",
        [row for each in matches for row in _rows(each, target)],
        caption=reading,
    )
    said = [heading(f"pyprof: {model} matched to {to}"), tag("p", setting, class_="faint"), group(drawn)]
    verdict = latency_verdict(to, columns)
    judged = [] if verdict is None else [tag("p", verdict)]
    return document(f"pyprof: {model} matched to {to}", [*said, _table(model, to, columns), *judged], drawn.charts)


def _rows(each: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[Matched]:
    by = _TITLES.get(each["by"], each["by"])
    for name, title in _TITLES.items():
        ratio = times(each, target, name)
        if ratio:
            yield Matched(by, title, ratio)
    yield Matched(by, _LATENCY, each["latency_ratio"], *(each.get("latency_interval") or ()))


def _table(model: str, to: str, columns: Sequence[Mapping[str, Any]]) -> Markup:
    target, *matches = columns
    rows: list[list[Part]] = [["sizes", "", *(sizes_words(each["dimensions"]) for each in matches)]]
    for title, name, written in COSTS:
        figures = [None if each.get(name) is None else written(each[name]) for each in columns]
        cells = [
            _cell(figure, times(each, target, name), each["by"] == name)
            for figure, each in zip(figures[1:], matches, strict=True)
        ]
        rows.append([title, figures[0] or "–", *cells])
    latency = [
        tag("strong", latency_words(each)) if each["by"] == _LATENCY else latency_words(each) for each in matches
    ]
    rows.append([_LATENCY, "1x", *latency])
    heads = ["cost", to, *(f"{model} by {_TITLES.get(each['by'], each['by'])}" for each in matches)]
    return grid(heads, rows, caption="What each costs; in bold what was made equal")


def _cell(figure: str | None, ratio: float | None, matched: bool) -> Part:
    if figure is None:
        return "–"
    small = () if ratio is None else (" ", tag("small", f"{ratio:.2f}x"))
    return tag("strong", figure) if matched else figure, *small

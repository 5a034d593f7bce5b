"""The grammar of charts: what a chart is, and the parts that its specification is put together from.

A specification is Vega-Lite (or Vega, for trees) as plain dictionaries. It names its tables (`table("rows")`) and its
colours (`theme.colour`), and holds neither: text that users bring is in the tables alone, never in an expression.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pyprof.plain import has_controls, printable
from pyprof.report.charts.theme import DASHES, SHAPES, colour, series

Spec = Mapping[str, Any]
Columns = Mapping[str, Sequence[Any]]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Choice:
    """What a reader of the page can choose: the options by their words, the first one being chosen already."""

    label: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """One picture, for the page and for paper.

    `name` is good for a file and an anchor; `title` stands above it, `description` is a sentence for those who cannot
    see it. `tables` are its data by column, every column of one table equally long. `specs` has a specification for
    every combination of what can be chosen, joined by "|" in the order of `choices`; a chart without choices has one
    under "". A caption says what the picture cannot, and `pointer` what a pointer tells, which paper has none of.
    """

    name: str
    title: str
    description: str
    tables: Mapping[str, Columns]
    specs: Mapping[str, Spec]
    choices: tuple[Choice, ...] = ()
    caption: str = ""
    pointer: str = ""
    height: int = 260
    language: Literal["vega-lite", "vega"] = "vega-lite"

    @property
    def spec(self) -> Spec:
        """The specification that is shown first."""
        return self.specs["|".join(choice.options[0] for choice in self.choices)]

    def chosen(self, *options: str) -> Spec:
        """The specification with these options."""
        return self.specs["|".join(options)]


@dataclass(frozen=True)
class Key:
    """One entry of a legend: its words, its colour and, of a line, its dashes."""

    words: str
    colour: str
    dashes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Group:
    """Charts that belong together: what is chosen is chosen for all of them, and they share one legend."""

    name: str
    title: str
    charts: tuple[Chart, ...]
    keys: tuple[Key, ...] = field(default=())
    caption: str = ""
    wide: bool = False


def table(name: str) -> Spec:
    """The data of a chart or a layer: its table of that name."""
    return {"data": {"name": name}}


def layered(layers: Iterable[Spec], tables: Mapping[str, Columns]) -> Spec:
    """A chart of marks one above the other, without those whose table has no rows."""
    empty = {name for name, columns in tables.items() if not any(map(len, columns.values()))}
    return {"layer": [each for each in layers if each and each["data"].get("name") not in empty]}


def axis(name: str, title: str | None, **more: Any) -> Spec:
    """A quantitative position; `more` goes beside the field: a scale, an axis."""
    return {"field": name, "type": "quantitative", "title": title, **more}


def scale(kind: str = "linear", low: float | None = None, high: float | None = None) -> Spec:
    """A scale of lengths or costs: linear from 0 on or logarithmic, unless its ends are given."""
    bounds = {name: value for name, value in (("domainMin", low), ("domainMax", high)) if value is not None}
    return {"type": kind, "nice": False, **bounds} if kind == "log" else {"type": kind, "zero": True, **bounds}


# The axis of a list of names.
NAMES: Spec = {
    "labelLimit": 260,
    "labelFlush": False,
    "labelPadding": 12,
    "ticks": False,
    "domain": False,
    "grid": False,
    "labelColor": colour("ink"),
}


def hint(**fields: str) -> list[Spec]:
    """What a pointer shows: the columns by their titles (an underscore is a blank)."""
    return [{"field": name, "title": title.replace("_", " ").strip()} for title, name in fields.items()]


def with_printable_text(value: Any) -> Any:
    """A specification or a table in which no text holds a character that would reorder or hide others.

    What draws it puts titles into expressions of its own, and an end of a line in one would be no expression.
    """
    if isinstance(value, str):
        return printable(value) if has_controls(value) else value
    if isinstance(value, Mapping):
        return {with_printable_text(key): with_printable_text(each) for key, each in value.items()}
    return [with_printable_text(each) for each in value] if isinstance(value, list | tuple) else value


def told_apart(name: str, words: Sequence[str], legend: Spec | None) -> tuple[Spec, Spec, Spec]:
    """The colour, the dashes and the shape of a column's words; all alike, so that they are one legend."""
    numbers = range(len(words))
    ranges: tuple[Sequence[Any], ...] = (
        [series(number) for number in numbers],
        [list(DASHES[number % len(DASHES)]) for number in numbers],
        [SHAPES[number % len(SHAPES)] for number in numbers],
    )
    tint, dash, shape = (
        {"field": name, "type": "nominal", "legend": legend, "scale": {"domain": list(words), "range": values}}
        for values in ranges
    )
    return tint, dash, shape


def rounded(value: float, digits: int = 5) -> float:
    """A figure as a table of a chart holds it: with as many significant digits as can be seen."""
    return float(f"{value:.{digits}g}")


def rows(columns: Columns) -> list[dict[str, Any]]:
    """A table row by row."""
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def config(font: int = 12) -> Spec:
    """How all charts look; `font` is the size of their text in pixels."""
    words = {"labelColor": colour("faint"), "titleColor": colour("ink"), "labelFontSize": font, "titleFontSize": font}
    return {
        "background": "transparent",
        "font": FONT,
        "axis": {
            **words,
            "titleFontWeight": "normal",
            "gridColor": colour("grid"),
            "domainColor": colour("line"),
            "tickColor": colour("line"),
            "labelOverlap": "greedy",
            "labelSeparation": 4,
            "labelFlush": True,
        },
        "legend": {**words, "symbolStrokeWidth": 2, "labelLimit": 400},
        "header": {**words, "titleFontWeight": "normal"},
        "title": {"color": colour("ink"), "fontSize": font + 1, "anchor": "start", "fontWeight": "bold"},
        "text": {"color": colour("ink"), "fontSize": font},
        "view": {"stroke": None},
        "rule": {"color": colour("line")},
    }

"""A page as one file: what it says, how it looks, the data of its charts and the script that draws them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from pyprof.report.charts.chart import Chart, Choice, Group, Key, config, with_printable_text
from pyprof.report.charts.render import javascript
from pyprof.report.charts.theme import style_sheet
from pyprof.report.page.markup import Markup, Part, data_script, tag


def document(
    title: str,
    parts: Iterable[Part],
    charts: Iterable[Chart],
    data: Mapping[str, Any] | None = None,
    more: Iterable[str] = (),
) -> str:
    """A whole page: its parts in order, where `charts` are all that `figure` and `group` have put into these.

    `data` are objects for the scripts, `more` the names of those besides that of the charts. Raises UsageError where
    vl-convert is not installed.
    """
    scripts = [javascript(), *map(_asset, ("page.js", "tree_keys.js", *more))]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(scripts)),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", title),
        tag("style", Markup(style_sheet() + _asset("page.css"))),
    ]
    body = [
        tag("a", "Skip to the report", href="#report", class_="skip"),
        tag("main", *parts, id="report"),
        data_script(
            "data", {"config": config(), "charts": {each.name: _plain(each) for each in charts}, **(data or {})}
        ),
        [Markup(f"<script>{script}</script>") for script in scripts],
    ]
    return "<!doctype html>\n" + tag("html", tag("head", *head), tag("body", *body), lang="en") + "\n"


def simple_page(title: str, said: Iterable[Part], charts: Sequence[Chart]) -> str:
    """A page of a few charts with what is said above them; raises UsageError where vl-convert is not installed."""
    return document(title, [heading(title), *said, *map(figure, charts)], charts)


def heading(title: str) -> Markup:
    """What a page begins with, and the button for its colours."""
    return tag("header", tag("h1", title), tag("button", "Light or dark", id="scheme", type="button"))


def section(name: str, title: str, *parts: Part) -> Markup:
    """A section of a page, which a link can name."""
    return tag("section", tag("h2", title), *parts, id=name, aria_label=title)


def figure(chart: Chart) -> Markup:
    """The place of one chart with its choices, its caption and its data as a table."""
    return tag("div", _choices(chart.name, chart.choices), _figure(chart), class_="group", data_group=chart.name)


def group(each: Group) -> Markup:
    """Charts side by side, with what can be chosen for all of them and their legend."""
    choices = each.charts[0].choices if each.charts else ()
    return tag(
        "div",
        tag("h3", each.title) if each.title else None,
        _choices(each.name, choices),
        legend(each.keys),
        tag("div", [_figure(chart) for chart in each.charts], class_="charts wide" if each.wide else "charts"),
        tag("p", each.caption, class_="caption") if each.caption else None,
        class_="group",
        data_group=each.name,
    )


def legend(keys: Iterable[Key]) -> Markup | None:
    """What the colours and dashes of some charts stand for."""
    entries = [tag("li", _sample(key), " ", key.words) for key in keys]
    return tag("ul", entries, class_="legend", aria_label="Legend") if entries else None


def _sample(key: Key) -> Markup:
    if key.dashes is None:
        mark = tag("rect", width=14, height=12, rx=2, style=f"fill:{key.colour}")
        return tag("svg", mark, width=14, height=12, aria_hidden="true")
    style = f"stroke:{key.colour};stroke-width:2.5;stroke-dasharray:{' '.join(map(str, key.dashes))}"
    return tag("svg", tag("path", d="M0 6H30", style=style), width=30, height=12, aria_hidden="true")


def _figure(chart: Chart) -> Markup:
    caption = " ".join(filter(None, (chart.caption, chart.pointer)))
    plot = tag(
        "div",
        class_="plot",
        data_chart=chart.name,
        role="img" if chart.language == "vega-lite" else "group",
        aria_label=chart.description,
        style=f"min-height:{chart.height}px",
    )
    return tag(
        "figure",
        tag("figcaption", chart.title),
        plot,
        tag("p", caption, class_="caption") if caption else None,
        tag("details", tag("summary", "Data"), class_="numbers", data_of=chart.name),
        id=chart.name,
    )


def _choices(name: str, choices: Iterable[Choice]) -> Markup | None:
    sets = []
    for number, choice in enumerate(choices):
        buttons = [
            tag("label", tag("input", type="radio", name=f"{name}-{number}", value=option, checked=not place), option)
            for place, option in enumerate(choice.options)
        ]
        sets.append(tag("fieldset", tag("legend", choice.label), buttons))
    return tag("div", sets, class_="choices") if sets else None


def _plain(chart: Chart) -> dict[str, Any]:
    return {
        "language": chart.language,
        "height": chart.height,
        "tables": with_printable_text(chart.tables),
        "specs": with_printable_text(chart.specs),
    }


def _policy(scripts: Iterable[str]) -> str:
    """That the page runs its own scripts and asks the network for nothing."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


@cache
def _asset(name: str) -> str:
    return files("pyprof.report.page").joinpath(name).read_text(encoding="utf-8")

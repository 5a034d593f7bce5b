"""What the results in a notebook are put together from.

Text and lines have the colour of what is around them, and bars colours that stand out on white and on black, so that
nothing has to know whether a notebook is light or dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from pyprof.report.charts import theme
from pyprof.report.page.markup import Markup, Part, markup, tag

_STYLE = (
    ".pyprof-result{font-size:13px;line-height:1.45;overflow-x:auto}"
    ".pyprof-result p{margin:.3em 0}"
    ".pyprof-result table{border-collapse:collapse;margin:.3em 0;font-variant-numeric:tabular-nums}"
    ".pyprof-result th,.pyprof-result td{padding:.15em .9em .15em 0;text-align:right;vertical-align:baseline;"
    "white-space:nowrap;background:none;border:0;border-bottom:1px solid rgba(128,128,128,.35)}"
    ".pyprof-result .text{text-align:left}"
    ".pyprof-result th{font-weight:600}"
    ".pyprof-result .faint{opacity:.75}"
    ".pyprof-result summary{cursor:pointer}"
)
# The least contrast of a bar with what is behind it, and the grounds of notebooks.
LEAST_CONTRAST = 3.0
GROUNDS = ("#ffffff", "#111111")
_BAR = 12.0


def result(head: Part, *parts: Part) -> str:
    """A whole result: one line that says what it is, then its tables and sentences."""
    return str(tag("div", tag("style", Markup(_STYLE)), tag("p", tag("b", "pyprof"), " · ", head), *parts,
                   class_="pyprof-result"))  # fmt: skip


def table(heads: Sequence[str], rows: Iterable[Sequence[Part]], *, text: int = 1) -> Markup:
    """A table whose first columns, `text` of them, are words and whose others are figures."""

    def cell(name: str, index: int, content: Part) -> Markup:
        return tag(name, content, class_="text" if index < text else None)

    head = tag("tr", [cell("th", index, each) for index, each in enumerate(heads)])
    body = [tag("tr", [cell("td", index, each) for index, each in enumerate(row)]) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", body))


def faint(*parts: Part) -> Markup:
    """A sentence beside the figures."""
    return tag("p", *parts, class_="faint")


def folded(summary: str, *parts: Part) -> Markup:
    """What is shown when its summary is clicked, which needs no script."""
    return tag("details", tag("summary", summary), *parts)


def bar(kind: str, share: float, own: float | None = None) -> Markup:
    """A share of 1 as a bar in the colour of its kind of layers; what is not a layer's own is a thin line."""
    whole = min(max(share, 0.0), 1.0) * _BAR
    filled = whole if own is None else min(max(own, 0.0) * _BAR, whole)
    colour = kind_colour(kind)
    return markup(
        tag("span", style=f"display:inline-block;height:.8em;width:{filled:.2f}em;background:{colour}"),
        tag(
            "span",
            style=f"display:inline-block;height:0;width:{whole - filled:.2f}em;border-top:1px solid {colour};"
            "vertical-align:.35em",
        )
        if whole - filled > 0.05
        else None,
    )


@cache
def kind_colour(kind: str) -> str:
    """The colour of a kind that stands out on both grounds; one that a user brought has that of others."""
    name = f"kind-{kind.replace(' ', '-')}"
    name = name if name in theme.LIGHT else "kind-other"
    candidates = (theme.LIGHT[name], theme.DARK[name])
    return max(candidates, key=lambda colour: min(theme.contrast(colour, ground) for ground in GROUNDS))

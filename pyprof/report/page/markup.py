"""HTML that is put together from parts: every text is escaped, and only what `tag` made is markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from pyprof.plain import printable

_EMPTY = frozenset(("br", "hr", "img", "input", "meta", "link", "col"))
_AS_TEXT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class Markup(str):
    """A piece of HTML."""

    __slots__ = ()


Part = str | int | Iterable["Part"] | None


def markup(*parts: Part) -> Markup:
    """Some parts one after the other: text is escaped, what would reorder or hide it written out; None is nothing."""
    return Markup("".join(_pieces(parts)))


def _pieces(parts: Iterable[Part]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, Markup):
            yield part
        elif isinstance(part, str):
            yield html.escape(printable(part, keep="\n\t"))
        elif isinstance(part, int):
            yield f"{part:,}"
        elif part is not None:
            yield from _pieces(part)


def tag(name: str, /, *parts: Part, **attributes: str | int | bool | None) -> Markup:
    """An element: attributes that are None or False are left out, of those that are True only the name is written.

    A trailing underscore is dropped from an attribute's name, and others become dashes: `class_`, `aria_label`.
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(printable(str(value)))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{given}>" if name in _EMPTY else f"<{name}{given}>{markup(*parts)}</{name}>")


def data_script(id: str, data: Any) -> Markup:
    """Data for a page's script: JSON in which nothing can end the element or begin another one."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_AS_TEXT)
    return Markup(f'<script type="application/json" id="{html.escape(id)}">{text}</script>')


def grid(heads: Iterable[Part], rows: Iterable[Iterable[Part]], *, caption: str, class_: str = "") -> Markup:
    """A table with a heading for each column, the first cell of a row being its heading, in a frame that scrolls."""
    head = tag("tr", [tag("th", each, scope="col") for each in heads])
    body = [
        tag("tr", [tag("td", cell) if number else tag("th", cell, scope="row") for number, cell in enumerate(row)])
        for row in rows
    ]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body), class_=class_ or None)
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)

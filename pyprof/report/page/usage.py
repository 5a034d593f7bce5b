"""What models cost in all, on a page."""

from __future__ import annotations

from collections.abc import Iterable

from pyprof.report.page.markup import Markup, grid, tag
from pyprof.report.usage import HEADS, costs_words, usage_rows
from pyprof.report.view import View


def usage_part(view: View) -> Iterable[Markup]:
    """A table for each indicator; nothing where the costs say neither how many queries nor how many examples."""
    if view.usage:
        yield tag("p", f"{costs_words(view.costs)}.".capitalize())
    for title, rows in usage_rows(view.usage):
        yield grid(list(HEADS), rows, caption=title)

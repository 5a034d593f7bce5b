"""The pages of single results in a browser: charts draw, light and dark, wide and narrow; nothing is asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from test_charts_to_come import CHARTS
from test_page import HOSTILE
from test_page_in_browser import COLOURS, UNNAMED, Watched, browser
from test_pages import PAGES

from pyprof.report.charts.theme import contrast
from pyprof.report.page.document import simple_page

__all__ = ["browser"]
pytestmark = pytest.mark.slow

DRAWN = "[...document.querySelectorAll('.plot[data-chart]')].every((plot) => plot.dataset.drawn)"
MARKS = "[...document.querySelectorAll('.plot svg')].map((each) => each.querySelectorAll('path').length)"


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_every_page_draws_its_charts_without_a_word_and_without_a_request(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    charts = {name: lambda word, make=make: simple_page("charts", [], make(word)) for name, make in CHARTS.items()}
    for name, made in {**PAGES, **charts}.items():
        path = tmp_path / f"{name}.html"
        path.write_text(made(HOSTILE))
        watched = Watched(browser, path, viewport={"width": width, "height": 900}, color_scheme=scheme)
        watched.wait(DRAWN)
        assert watched.said == [], name
        assert watched.asked == [path.as_uri()], name
        page = watched.page
        marks = page.evaluate(MARKS)
        assert len(marks) == len(page.query_selector_all(".plot[data-chart]")), name
        assert min(marks) > 2, name
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        assert page.evaluate(UNNAMED) == [], name
        assert not too_faint(page.evaluate(COLOURS)), name
        watched.context.close()


def too_faint(found: dict[str, str]) -> dict[str, str]:
    """The texts whose colour is too near to that of the ground behind them."""

    def plain(colour: str) -> str:
        return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour)[:3])

    return {
        pair: text
        for pair, text in found.items()
        if contrast(*(plain(each) for each in pair.split(" on "))) < 4.5  # WCAG 2.2, AA
    }

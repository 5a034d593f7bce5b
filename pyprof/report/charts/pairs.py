"""How things agree pair by pair, as a matrix: indicators that order the same models alike or the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyprof.report.charts.chart import NAMES, Chart, Columns, hint, layered, rounded, table
from pyprof.report.charts.theme import colour
from pyprof.report.charts.tree import LEAF

_CELL = 44


@dataclass(frozen=True)
class Pair:
    """Two things and their agreement from -1 (the reverse order) to 1 (the same one), None where it cannot be told.

    `low` and `high` are what it may be with the noise; `said` what else there is to say of the two.
    """

    one: str
    other: str
    agreement: float | None
    low: float | None
    high: float | None
    said: str = ""


def pairs_chart(name: str, title: str, pairs: Sequence[Pair], *, caption: str = "", pointer: str = "") -> Chart:
    """A cell for each pair, once, with its number: in one colour where it agrees, in another where it does not."""
    known = [each for each in pairs if each.agreement is not None]
    told = [(each, _words(each)) for each in pairs]
    tables: Mapping[str, Columns] = {
        "cells": {
            "one": [each.one for each in known],
            "other": [each.other for each in known],
            "agreement": [rounded(each.agreement or 0.0, 4) for each in known],
            "side": ["agree" if (each.agreement or 0.0) >= 0 else "disagree" for each in known],
            "strength": [rounded(abs(each.agreement or 0.0), 4) for each in known],
        },
        "words": {
            "one": [each.one for each, _ in told],
            "other": [each.other for each, _ in told],
            "shown": ["?" if each.agreement is None else f"{each.agreement:.2f}" for each, _ in told],
            "said": [words for _, words in told],
        },
    }
    across, down = (list(dict.fromkeys(tables["words"][name])) for name in ("other", "one"))
    x = {"field": "other", "type": "nominal", "scale": {"domain": across}, "title": None,
         "axis": {**NAMES, "orient": "top", "labelAngle": 0, "labelLimit": 120}}  # fmt: skip
    y = {"field": "one", "type": "nominal", "scale": {"domain": down}, "title": None, "axis": NAMES}
    tint = {
        "field": "side",
        "type": "nominal",
        "scale": {"domain": ["agree", "disagree"], "range": [colour("series-0"), colour("series-1")]},
        "legend": None,
    }
    strength = {
        "field": "strength",
        "type": "quantitative",
        "scale": {"domain": [0, 1], "range": [0.04, LEAF]},
        "legend": None,
    }
    spec = layered(
        [
            {**table("cells"), "mark": {"type": "rect", "stroke": colour("grid")},
             "encoding": {"x": x, "y": y, "color": tint, "fillOpacity": strength}},
            {**table("words"), "mark": {"type": "text", "fontSize": 11, "color": colour("ink")},
             "encoding": {"x": x, "y": y, "text": {"field": "shown", "type": "nominal"},
                          "tooltip": hint(one="one", other="other", agreement="said")}},
        ],
        tables,
    )  # fmt: skip
    least = sorted(known, key=lambda each: each.agreement or 0.0)[:5]
    description = f"{title}. The least agreement: {'; '.join(f'{e.one} and {e.other} {_words(e)}' for e in least)}."
    rows = len(dict.fromkeys(each.one for each in pairs))
    height = _CELL * max(rows, 1) + 90
    return Chart(name, title, description, tables, {"": spec}, caption=caption, pointer=pointer, height=height)


def _words(pair: Pair) -> str:
    if pair.agreement is None:
        return f"cannot be told{'; ' if pair.said else ''}{pair.said}"
    bounds = (
        ""
        if pair.low is None or pair.high is None or pair.low == pair.high
        else f" [{pair.low:.2f} to {pair.high:.2f}]"
    )
    return f"{pair.agreement:.2f}{bounds}{'; ' if pair.said else ''}{pair.said}"

"""The ranks of sharded models, on a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyprof.analysis.ranks import RankedCase
from pyprof.report.page.markup import Markup, grid, tag
from pyprof.report.ranks import EXPLAINED, HEADS, case_title, rank_cells, slowest_sentence
from pyprof.report.view import View


def ranks_part(view: View) -> Iterable[Markup]:
    """The ranks of a run's sharded models."""
    return ranks_parts(view.ranks)


def ranks_parts(cases: Sequence[RankedCase]) -> Iterable[Markup]:
    """A table for each case of a sharded model, with which rank the others wait for."""
    if cases:
        yield tag("p", EXPLAINED)
    for case in cases:
        yield grid(list(HEADS), rank_cells(case.rows), caption=case_title(case))
        yield tag("p", f"{slowest_sentence(case)}.".capitalize())

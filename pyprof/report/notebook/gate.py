"""A comparison of two runs in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyprof.analysis.gate.change import VERDICTS, Change
from pyprof.report.gate.view import headline
from pyprof.report.gate.words import bounds, percent, subject_words
from pyprof.report.notebook.parts import faint, result, table
from pyprof.report.page.markup import Part, tag
from pyprof.report.style import batch_words, figure, plural

if TYPE_CHECKING:
    from pyprof.report.gate.view import GateView

MOST_ROWS = 30


def html(view: GateView) -> str:
    """The outcome, and the cases that changed, regressions first."""
    changes = [] if view.gate is None else sorted(view.gate.changes, key=_order)
    told = [change for change in changes if change.verdict in ("regression", "improvement", "too disturbed")]
    rest = len(changes) - len(told[:MOST_ROWS])
    heads = ("model", "mode", "indicator", "verdict", "length", "baseline", "head", "change", "95 % interval")
    said = [*view.machines, *view.different, *view.warnings[:5]]
    said += [f"{plural(rest, 'more case')} in the gate's changes"] if rest and changes else []
    return result(
        [tag("b", view.head), " against ", view.baseline, ": ", tag("b", headline(view))],
        table(heads, map(_row, told[:MOST_ROWS]), text=4) if told else None,
        *(faint(each) for each in said),
    )


def _order(change: Change) -> tuple[int, float]:
    return VERDICTS.index(change.verdict), -change.ratio


def _row(change: Change) -> list[Part]:
    case, indicator = change.case, change.indicator
    values = [figure(indicator, value) for value in (change.baseline, change.head)]
    mode = f"{case.mode}{batch_words(case.batch)}"
    words = [subject_words(change), mode, indicator.title.lower(), tag("b", change.verdict)]
    return [*words, case.length, *values, percent(change.ratio), bounds(change)]

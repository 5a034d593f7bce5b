"""Multiply-adds of one step, by operator: what many papers print as FLOPs."""

from __future__ import annotations

from typing import Any

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def count(step: Step) -> Reading:
    """Multiply-adds of the products of one step; half of what `flops` counts, with the same detail."""
    from pyprof.indicators.counting.operators import PHASES, operators_of

    found = operators_of(step)
    detail: dict[str, Any] = {
        **{phase: found.total("macs", phase) for phase in PHASES},
        "by_operator": found.by_operator("macs"),
        "uncounted": found.uncounted(),
    }
    return Reading(float(found.total("macs")), detail=detail)


INDICATOR = Indicator(
    name="macs",
    title="Multiply-adds",
    unit="MAC",
    format="count",
    better="lower",
    scope="of one example",
    meaning="multiply-adds of the products of one step, each counting once: what many papers print as FLOPs",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    exact=True,
    place=51,
    usual=False,
    read=count,
)

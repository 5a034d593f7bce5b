"""FLOPs of one step, by operator, a multiply-add counting as two."""

from __future__ import annotations

from typing import Any

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def count(step: Step) -> Reading:
    """Floating-point operations of the products of one step: matrix products, convolutions, attention, transforms.

    The detail has them by phase and by operator; `elements` are those that are computed element by element (GELU,
    softmax, a norm), whose operations no convention counts alike. `uncounted` names the operators whose arithmetic is
    not known, with their calls and their share of the time in operators.
    """
    from pyprof.indicators.counting.operators import PHASES, operators_of

    found = operators_of(step)
    detail: dict[str, Any] = {
        **{phase: 2 * found.total("macs", phase) for phase in PHASES},
        "elements": found.total("elements"),
        "by_operator": {name: 2 * macs for name, macs in found.by_operator("macs").items()},
        "uncounted": found.uncounted(),
    }
    return Reading(float(2 * found.total("macs")), detail=detail)


INDICATOR = Indicator(
    name="flops",
    title="FLOPs",
    unit="FLOP",
    format="count",
    better="lower",
    scope="of one example",
    meaning="floating-point operations of the products of one step (matrix products, convolutions, attention, "
    "transforms), a multiply-add counting as two",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    exact=True,
    place=50,
    usual=False,
    read=count,
)

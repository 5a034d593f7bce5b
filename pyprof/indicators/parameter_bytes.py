"""The bytes of a model's parameters, as they are stored."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def count(step: Step) -> Reading:
    """Bytes of the weights that `parameters` counts: quantised ones in their own bytes, sparse ones with indices."""
    from pyprof.device.weights import WeightCount, why_not_countable

    reason = why_not_countable(step.module)
    if reason is not None:
        return Reading(None, reason=reason)
    weights = WeightCount()
    weights.add_all(step.module)
    return Reading(float(weights.bytes))


INDICATOR = Indicator(
    name="parameter_bytes",
    title="Parameter bytes",
    unit="B",
    format="bytes",
    better="lower",
    meaning="bytes of the model's parameters as they are stored, shared ones once, sparse ones with their indices",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    exact=True,
    varies_with_length=False,
    usual=False,
    place=41,
    read=count,
)

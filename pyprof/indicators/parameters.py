"""The number of parameters of a model."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def count(step: Step) -> Reading:
    """Parameters of the bare model (without the head of a training step); the detail has the trainable ones and the
    bytes of all.

    Each element of memory counts once: parameters that several layers share, and views of one storage. What a quantised
    layer keeps packed counts as the weights that it stands for, a sparse parameter as the values that it stores.

    The study of Diwan et al. (2023) counted with torchinfo, which gives the same number for a model that shares
    nothing; it counts a layer that stands in two places, or in a list and in an attribute, up to twice.
    """
    from pyprof.device.weights import WeightCount, why_not_countable

    module = step.module
    reason = why_not_countable(module)
    if reason is not None:
        return Reading(None, reason=reason)
    trainable = WeightCount(trainable_only=True).add_all(module)
    every = WeightCount()
    return Reading(float(every.add_all(module)), detail={"trainable": trainable, "bytes": every.bytes})


INDICATOR = Indicator(
    name="parameters",
    title="Parameters",
    unit="1",
    format="count",
    better="lower",
    meaning="number of model parameters, shared ones once",
    source="Diwan, Choi, Harwath, ACL 2023",
    exact=True,
    varies_with_length=False,
    place=40,
    how="counted",
    read=count,
)

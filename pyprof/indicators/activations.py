"""Activations: how many elements the products of a model's forward put out."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def count(step: Step) -> Reading:
    """Elements of the results of all products in the forward: convolutions, linear layers, matrix products, attention.

    The detail has their bytes, and the elements by operator.
    """
    from pyprof.indicators.counting.operators import operators_of

    found = operators_of(step)
    by_operator = found.by_operator("outputs", "forward")
    detail = {"bytes": found.total("output_bytes", "forward"), "by_operator": by_operator}
    return Reading(float(found.total("outputs", "forward")), detail=detail)


INDICATOR = Indicator(
    name="activations",
    title="Activations",
    unit="1",
    format="count",
    better="lower",
    scope="of one example",
    meaning="elements of the results of all convolutions, linear layers, matrix products and attention in a forward",
    source="Dollar, Singh, Girshick, Fast and Accurate Model Scaling, CVPR 2021",
    exact=True,
    place=60,
    usual=False,
    read=count,
)

"""Money: what the hours of all examples cost, by the price that the user gives."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator
from pyprof.records.costs import monetary

INDICATOR = Indicator(
    name="monetary",
    title="Money",
    unit="of the price",
    short_unit="",
    better="lower",
    scope="of all examples that the costs name",
    meaning="the price of the hours that the examples take, one after the other, in the currency that the user gives",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    usual=False,
    place=74,
    how="derived",
    needs=("latency",),
    read=monetary,
)

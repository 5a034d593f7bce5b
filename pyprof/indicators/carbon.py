"""Carbon: what the energy of all examples stands for, by the intensity that the user gives."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator
from pyprof.records.costs import carbon

INDICATOR = Indicator(
    name="carbon",
    title="Carbon",
    unit="g",
    better="lower",
    scope="of all examples that the costs name",
    meaning="grams of CO2 equivalent: the energy of an example, as often as there are examples, times the intensity of "
    "the power that the user gives",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    usual=False,
    place=72,
    how="derived",
    needs=("energy",),
    read=carbon,
)

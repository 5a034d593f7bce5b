"""Peak memory: the most bytes that PyTorch holds at once while one example is processed.

What NumPy or another library takes for itself is not in it: only PyTorch's own allocators report theirs.
"""

from __future__ import annotations

from collections.abc import Callable

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def read(step: Step, call: Callable[[], None]) -> Reading:
    """The peak of one call in bytes, what is resident before it included; the detail has the resident bytes."""
    return step.peak_memory(call)


INDICATOR = Indicator(
    name="peak_memory",
    title="Peak memory",
    unit="B",
    format="bytes",
    better="lower",
    scope="of one example",
    meaning="most bytes allocated by PyTorch at once while one example is processed, parameters and inputs included",
    source="Diwan, Choi, Harwath, ACL 2023",
    exact=True,
    place=30,
    how="weighed",
    read=read,
)

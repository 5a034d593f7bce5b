"""The pipeline bubble: how long a device has nothing to do yet, or nothing any more, in each batch."""

from __future__ import annotations

from statistics import median

from pyprof.errors import UsageError
from pyprof.indicators.indicator import Indicator, Step
from pyprof.indicators.occupations import occupations
from pyprof.records.reading import Reading


def read(step: Step) -> Reading:
    """The median idle time of some steps in seconds, from the lowest to the highest; the detail has its share.

    Of a GPU it is what lies before the first and after the last of a step's kernels, copies and memsets; of the host,
    whose work has no such begin, the time that its cores have nothing to do in a step, of each core on average.
    """
    try:
        told = [(each.idle, each.whole) for each in occupations(step) if each.idle is not None]
    except UsageError as error:
        return Reading(None, reason=str(error))
    if not told:
        return Reading(None, reason=f"{step.device.name} does not tell when it has nothing to do")
    idle = tuple(each for each, _ in told)
    seconds = [nanoseconds * 1e-9 for nanoseconds in idle]
    detail = {"share": median(each / whole for each, whole in told)}
    return Reading(median(seconds), min(seconds), max(seconds), idle, detail=detail)


INDICATOR = Indicator(
    name="pipeline_bubble",
    title="Pipeline bubble",
    unit="s",
    format="time",
    better="lower",
    scope="of one example",
    meaning="time in which a GPU is idle at the begin and the end of a batch; on the host, in which a core is idle",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022; Narayanan et al., PipeDream, SOSP 2019",
    usual=False,
    place=16,
    read=read,
)

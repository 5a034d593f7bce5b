"""The pipeline bubble: how long a device has nothing to do yet, or nothing any more, in each batch."""

from __future__ import annotations

from statistics import median

from pyprof.errors import UsageError
from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading

_READINGS = 5


def read(step: Step) -> Reading:
    """The median idle time of some steps in seconds, from the lowest to the highest; the detail has its share.

    Of a GPU it is what lies before the first and after the last of a step's kernels, copies and memsets; of the host,
    whose work has no such begin, the time that its cores have nothing to do in a step, of each core on average.
    """
    step()  # what a step does only once, after a pause
    try:
        bubbles = [_bubble(step) for _ in range(_READINGS)]
    except UsageError as error:
        return Reading(None, reason=str(error))
    idle = tuple(each for each, _ in bubbles)
    seconds = [nanoseconds * 1e-9 for nanoseconds in idle]
    detail = {"share": median(each / whole for each, whole in bubbles)}
    return Reading(median(seconds), min(seconds), max(seconds), idle, detail=detail)


def _bubble(step: Step) -> tuple[int, int]:
    step.renew()
    return step.device.bubble_ns(step)


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

"""Device time: how long a device works for one example, whatever the host takes to launch that work."""

from __future__ import annotations

from statistics import median

from pyprof.indicators.indicator import Indicator, Step
from pyprof.indicators.occupations import occupations
from pyprof.records.reading import Reading


def read(step: Step) -> Reading:
    """The median busy time of some steps in seconds, from the lowest to the highest; None on a device without one."""
    if not step.device.has_own_time:
        return Reading(None, reason=f"{step.device.name} does its work in the call itself: latency is its time")
    samples = tuple(each.busy for each in occupations(step) if each.busy is not None)
    seconds = [nanoseconds * 1e-9 for nanoseconds in samples]
    return Reading(median(seconds), min(seconds), max(seconds), samples)


INDICATOR = Indicator(
    name="device_time",
    title="Device time",
    unit="s",
    format="time",
    better="lower",
    scope="of one example",
    meaning="time in which the device works for one example: the union of its kernels, copies and memsets",
    source="CUPTI activity records",
    place=15,
    read=read,
)

"""Energy: how many joules one example takes, beyond what the idle device uses."""

from __future__ import annotations

from dataclasses import asdict

from pyprof.errors import UsageError
from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def read(step: Step) -> Reading:
    """Joules of one example over a window of seconds, with the idle device's taken off; None where nothing is counted.

    The detail has what was taken off (`idle_watts`), the average power, and the joules with it.
    """
    from pyprof.device.energy import measure_energy

    try:
        meter = step.device.energy_meter()
    except UsageError as error:
        return Reading(None, reason=str(error))

    def call() -> None:
        step.renew()
        step()
        step.device.synchronize()

    found = measure_energy(meter, call)
    detail = {**asdict(found), "meter": meter.name, "batch": step.batch}
    if found.joules <= 0:
        reason = f"steps take no more than the idle device ({found.watts:.1f} W and {found.idle_watts:.1f} W)"
        return Reading(None, reason=reason, detail=detail)
    return Reading(found.joules / step.batch, detail=detail)


INDICATOR = Indicator(
    name="energy",
    title="Energy",
    unit="J",
    better="lower",
    scope="of one example",
    meaning="joules that the device uses for one example beyond what it uses when idle (NVML on GPUs, RAPL on hosts)",
    source="Dehghani et al., The Efficiency Misnomer, ICLR 2022",
    usual=False,
    place=70,
    read=read,
)

"""Some steps during which the device tells when it works: read once for all indicators that follow from them."""

from __future__ import annotations

from pyprof.device.base import Occupation
from pyprof.indicators.indicator import Step

# Kernel times hardly vary: five readings show how much, at the price of a few steps.
_READINGS = 5


def occupations(step: Step) -> tuple[Occupation, ...]:
    """What the device did in each of some steps, replayed where the step is captured; raises UsageError as it does."""
    return step.once(_read, replayed=True)


def _read(step: Step) -> tuple[Occupation, ...]:
    step()  # what a step does only once, after a pause
    return tuple(_occupation(step) for _ in range(_READINGS))


def _occupation(step: Step) -> Occupation:
    step.renew()
    return step.device.occupation(step)

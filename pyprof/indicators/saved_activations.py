"""Saved activations: what a training step's forward keeps for its backward."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def count(step: Step) -> Reading:
    """The most bytes that autograd keeps at once, each storage once, without parameters, buffers and inputs."""
    from pyprof.device.memory import tensors_in
    from pyprof.indicators.counting.saved import SavedTensors

    step.renew()
    there = (*step.step.parameters(), *step.step.buffers(), *tensors_in(step.inputs))
    saved = SavedTensors(there)
    with saved.hooks():
        step()
    return Reading(float(saved.most), detail={"tensors": saved.tensors})


INDICATOR = Indicator(
    name="saved_activations",
    title="Saved activations",
    unit="B",
    format="bytes",
    better="lower",
    scope="of one example",
    meaning="most bytes that a training step's forward keeps at once for its backward, without parameters and inputs",
    source="Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, MLSys 2023",
    exact=True,
    modes=("train",),
    usual=False,
    place=61,
    read=count,
)

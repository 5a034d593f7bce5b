"""Peak memory by component: what the memory is for at the moment when there is most of it."""

from __future__ import annotations

from pyprof.indicators.indicator import Indicator, Step
from pyprof.records.reading import Reading


def count(step: Step) -> Reading:
    """The peak of one step in bytes; the detail has its components, which sum to it.

    Where an optimizer has no state yet, a step runs before, so that its state is there as in every later step.
    """
    from pyprof.indicators.counting.components import components_of

    if step.mode == "train" and not step.optimizer_state:
        step()
    step.close()
    found = components_of(step)
    return Reading(float(found.peak), detail=vars(found))


INDICATOR = Indicator(
    name="memory_components",
    title="Peak memory by component",
    unit="B",
    format="bytes",
    better="lower",
    scope="of one example",
    meaning="most bytes allocated by PyTorch at once, by what they are for: parameters, gradients, optimizer state, "
    "activations kept for the backward, workspace",
    source="Rajbhandari et al., ZeRO, SC 2020",
    exact=True,
    usual=False,
    place=31,
    parts=("parameters", "buffers", "inputs", "optimizer_state", "gradients", "activations", "workspace"),
    read=count,
)

"""What probes have kept of the last steps: stamps, layers and the device's work, as plain data. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyprof.layers.device_work import DeviceRecords
from pyprof.layers.memory_log import MemorySamples
from pyprof.layers.profile import LayerFacts
from pyprof.layers.trace import Trace


@dataclass(frozen=True)
class LastSteps:
    """The stamps of the last steps, the layers that they name, and what a device did meanwhile.

    `facts` has the layers in the order of their paths. `work` is what a device did in the last step, with autograd's
    number of each thread that a launch names; `sites` (SITE_DTYPE) are the places that it names. It is None where
    there is no such device, and `notes` say why where there is one. `memory` is what the last step allocated and freed,
    None where that was not followed.
    """

    trace: Trace
    facts: tuple[LayerFacts, ...]
    sites: npt.NDArray[np.void]
    work: tuple[DeviceRecords, npt.NDArray[np.uint64]] | None = None
    notes: tuple[str, ...] = ()
    memory: MemorySamples | None = None

    @property
    def paths(self) -> list[str]:
        """The paths of the layers."""
        return [fact.path for fact in self.facts]

    @property
    def modules(self) -> list[int]:
        """The number by which a recorder knows the module at each path."""
        return [index if fact.module is None else fact.module for index, fact in enumerate(self.facts)]

"""What a recorder adds up while it records: a few numbers for every place of the call tree. Loads no torch.

A place ("site") is a layer together with the site of the call around it. The sums grow with the number of different
places only, so that no length of a step loses a call, and a site's number stays when its stamps are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

UNMARKED: Final = 0
"""What runs while no step is marked: this context, and the site at the root of the calls in it."""
IN_STEP: Final = 1
"""What runs in a marked step, on the step's own thread."""
BESIDE: Final = 2
"""What runs on another thread while a step is marked."""
STEPS: Final = 3
"""The site that holds the number of steps and their whole time; those below it are contexts, those above are layers."""

CALLS: Final = 0
CELLS: Final = 8
"""Cells of a site: its calls, and then two for each context in which its nodes can run, see `node_cell`."""

SITE_DTYPE: Final = np.dtype([("parent", "u4"), ("layer", "u4"), ("phase", "u4")], align=True)
CELL_DTYPE: Final = np.dtype([("count", "u8"), ("nanoseconds", "f8")], align=True)


def node_cell(context: int, second_order: bool) -> int:
    """Which cell holds the backward nodes of a site that ran in this context."""
    return 1 + 2 * context + second_order


@dataclass(frozen=True)
class Sums:
    """Everything that had ended by one moment, of all threads together.

    `sites` (SITE_DTYPE, parents before children) are the places; `cells` (CELL_DTYPE, a row of CELLS for each site)
    hold the number of intervals and their own time. A site's calls are of the context that its outermost parent names.
    The first cell of UNMARKED is the whole time of the outermost intervals, gaps between backward nodes included.
    `lost` counts calls that could not be added up, since no memory was left: their time is part of their callers' own.
    `unplaced` counts backward nodes whose call was too long ago to be known: their time belongs to no layer.
    """

    sites: npt.NDArray[np.void]
    cells: npt.NDArray[np.void]
    lost: int = 0
    unplaced: int = 0

    @classmethod
    def of(cls, read: Mapping[str, Any]) -> Sums:
        """From what a recorder gives."""
        return cls(read["sites"], read["cells"].reshape(-1, CELLS), int(read["lost"]), int(read["unplaced"]))

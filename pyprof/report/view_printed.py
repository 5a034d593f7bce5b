"""What a renderer may see of figures that were printed elsewhere, beside those of a run."""

from __future__ import annotations

from dataclasses import dataclass

from pyprof.report.view_column import Column


@dataclass(frozen=True)
class PrintedFigure:
    """One printed figure of a model: `name` is an indicator's, or words where there is none here.

    `ours` is the run's figure at the same length, in the same unit, and `ratio` how many times the printed one it is;
    None where the run has none. `quality`: it tells how good the model is; `series` is the way in which the publication
    made it larger or smaller than others.
    """

    column: Column
    name: str
    length: int
    printed: float
    ours: float | None
    ratio: float | None
    quality: bool = False
    series: str = ""

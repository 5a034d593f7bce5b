"""What heads a column of a table."""

from __future__ import annotations

from dataclasses import dataclass

from pyprof.records.case import run_as


@dataclass(frozen=True)
class Column:
    """A model with one attention implementation and launch, as a table's column."""

    model: str
    attention: str
    weights: str | None
    vanilla: bool
    launch: str = "eager"

    @property
    def how(self) -> str:
        """How the model is run: "sdpa", or "sdpa, graph"."""
        return run_as(self.attention, self.launch)

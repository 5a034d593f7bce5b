"""What heads a column of a table."""

from __future__ import annotations

from dataclasses import dataclass

from pyprof.records.case import run_as
from pyprof.records.comparison import Subject


@dataclass(frozen=True)
class Column:
    """A model with one attention implementation, launch and optimizer, as a table's column."""

    model: str
    attention: str
    weights: str | None
    vanilla: bool
    launch: str = "eager"
    optimizer: str = "none"

    @classmethod
    def of(cls, subject: Subject, vanilla: bool) -> Column:
        """The column of a subject, which is a vanilla model or a variant."""
        return cls(subject.model, subject.attention, subject.weights, vanilla, subject.launch, subject.optimizer)

    @property
    def how(self) -> str:
        """How the model is run: "sdpa", or "sdpa, graph"."""
        return run_as(self.attention, self.launch, self.optimizer)

"""Where a group of cases was measured: a device of a machine, and at which attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pyprof.records import validate


@dataclass(frozen=True)
class Place:
    """A device of a machine that measures, as a record keeps it.

    `device` is the one GPU of a worker ("cuda:0 GPU-5f3c...") or its processors ("cores 0-3"). Cases of one `group`
    were measured together, at that `attempt`; `together` is how many they were.
    """

    machine: str
    device: str
    attempt: int = 1
    group: str = ""
    together: int = 1

    def __str__(self) -> str:
        return f"{self.device} of {self.machine}"

    @property
    def seat(self) -> tuple[str, str]:
        """The machine and the device, whatever is measured there."""
        return self.machine, self.device

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Place:
        """Rebuild a place; raises UsageError where a field is missing, unknown or damaged."""
        place: Place = validate.checked(PLACE, data, "the place")
        return place


PLACE = validate.instance(
    Place,
    machine=validate.words,
    device=validate.words,
    attempt=validate.whole(1, validate.LARGE),
    group=validate.words,
    together=validate.whole(1, validate.LARGE),
)

"""What to measure the overhead of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pyprof.errors import UsageError
from pyprof.models.setup import ModelSetup
from pyprof.quantity import check_seconds

MODES = ("infer", "train")


@dataclass(frozen=True)
class OverheadRequest:
    """A model at one length and batch, and the tools to profile it with (all of them where `tools` is empty).

    `seconds` is the time for the steps of each mode; what is measured without the model takes about as long again.
    Raises UsageError for a time that is not positive and for an unknown mode.
    """

    setup: ModelSetup
    modes: tuple[str, ...] = MODES
    seconds: float = 20.0
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_seconds(self.seconds, "the time for the steps")
        for mode in self.modes:
            if mode not in MODES:
                raise UsageError(f"there is no mode {mode!r}: choose infer, train or both")

    def to_json(self) -> dict[str, Any]:
        """All settings in one flat JSON object."""
        return {**asdict(self.setup), "modes": list(self.modes), "seconds": self.seconds, "tools": list(self.tools)}

"""What to find the overhead of."""

from __future__ import annotations

from dataclasses import dataclass

from pyprof.errors import UsageError

MODES = ("infer", "train")
DEFAULT_LENGTH = {"pixel": 224}
# Short enough that the cost of looking shows, and a length that is used every day.
_TOKENS = 128


@dataclass(frozen=True)
class Plan:
    """One model at one length and batch, and the tools to look at it with (all of them where `tools` is empty).

    `seconds` is the time for the steps of each mode; what is measured without the model takes about as long again.
    `length` is 128, or 224 for pixels, where it is None. Raises UsageError for what makes no sense.
    """

    model: str
    length: int | None = None
    batch: int = 1
    modes: tuple[str, ...] = MODES
    attention: str = "best"
    size: str = "base"
    dtype: str = "float32"
    device: str = "cpu"
    seconds: float = 20.0
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.batch < 1 or (self.length is not None and self.length < 1):
            raise UsageError("a length and a batch are at least 1")
        if not self.seconds > 0:
            raise UsageError(f"the time for the steps has to be positive, not {self.seconds} s")
        for mode in self.modes:
            if mode not in MODES:
                raise UsageError(f"there is no mode {mode!r}: choose infer, train or both")

    def length_in(self, unit: str) -> int:
        """The length, in this unit of a model's length."""
        return self.length or DEFAULT_LENGTH.get(unit, _TOKENS)

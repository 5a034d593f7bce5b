"""One model at one length and batch, as the commands outside of studies measure it; importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyprof.errors import UsageError
from pyprof.failures import blamed
from pyprof.models import registry

if TYPE_CHECKING:
    from pyprof.models.loaded import LoadedModel

_PIXELS = 224


@dataclass(frozen=True)
class ModelSetup:
    """What to measure, but for the mode: the arguments of `registry.load` with one length, and a batch.

    `length` counts the model's unit. Raises UsageError where it or the batch is below 1.
    """

    model: str
    length: int
    batch: int = 1
    attention: str = "best"
    size: str = "base"
    dtype: str = "float32"
    device: str = "cpu"
    weights: str | None = None
    base_model: bool = False
    inputs: str | None = None

    def __post_init__(self) -> None:
        if self.batch < 1 or self.length < 1:
            raise UsageError("the length and the batch have to be at least 1")

    def load(self, mode: str) -> LoadedModel:
        """The model, built and fitted to the length.

        Raises UsageError for what does not exist or does not fit, and ModelError where the model's own code fails.
        """
        with blamed(f"{self.model} failed when it was loaded for {mode} mode with length {self.length}"):
            loaded = registry.load(
                self.model,
                size=self.size,
                attention=self.attention,
                mode=mode,
                longest=self.length,
                dtype=self.dtype,
                device=self.device,
                weights=self.weights,
                base_model=self.base_model,
                inputs=self.inputs,
            )
            loaded.fit(self.length)
        return loaded


def default_length(model: str, tokens: int) -> int:
    """The length at which a model is measured unless asked otherwise: 224 pixels of an image's side, or `tokens`.

    Raises UsageError for a model that does not exist.
    """
    entry = registry.find(model)
    return _PIXELS if entry is not None and entry.unit == "pixel" else tokens

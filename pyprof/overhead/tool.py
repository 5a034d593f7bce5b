"""A tool that times layers: what it is, and what it does while it is attached to a module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class LayerTime:
    """What a tool reports that a layer took in one step, in nanoseconds; None where it does not.

    Totals include the layers that the layer calls, own times do not.
    """

    forward: float
    own_forward: float | None = None
    backward: float | None = None
    own_backward: float | None = None


class Attached(ABC):
    """A tool at work on a module, from when it is made until `detach`."""

    def recording(self) -> AbstractContextManager[object]:
        """What users of the tool put around each step; entering and leaving it are part of the step's time."""
        return nullcontext()

    def layers(self) -> Mapping[str, LayerTime] | None:
        """The layers' times by path, of the one step that was recorded; None where the tool gives none."""
        return None

    def kept_bytes(self) -> int | None:
        """Bytes kept of what was recorded, where they are not on Python's heap."""
        return None

    @abstractmethod
    def detach(self) -> None:
        """Leave the module as it was; called once."""


@dataclass(frozen=True)
class Tool:
    """A way of timing layers.

    `attach(module, backward)` begins it. `timed` says what is part of a timed step besides the step itself. `bytes_by`
    says how the bytes kept of a call are counted: HEAP (by how much Python's heap has grown), or otherwise in words
    what `Attached.kept_bytes` counts; None where nothing is kept. `package` is what has to be importable, `install` how
    to get it. One that `keeps_cupti` uses torch.profiler, which subscribes to CUPTI where PyTorch has CUDA, whatever is
    asked of it, and stays the one subscriber that a process can have.
    """

    name: str
    attach: Callable[[nn.Module, bool], Attached]
    timed: str
    bytes_by: str | None = None
    package: str | None = None
    install: str | None = None
    keeps_cupti: bool = False


HEAP = "growth of Python's heap (tracemalloc)"

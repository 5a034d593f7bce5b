"""One step of a loaded model: called and weighed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from pyprof import device as devices
from pyprof.device import Device
from pyprof.device.memory import resident_bytes
from pyprof.indicators.indicator import Found
from pyprof.layers.step_inputs import SameInputs
from pyprof.models.loaded import LoadedModel
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.timing.clock import Call

_LEARNING_RATE = 1e-5


def free(device: Device) -> None:
    """Give back what nothing refers to any more; an exception's traceback, say, keeps tensors alive in cycles."""
    gc.collect()
    device.release()


@dataclass
class Step:
    """One step of a loaded model, ready to be called: inference, or forward, loss, backward and maybe an optimizer.

    Each call finds the inputs as they were given; `renew` sees to that beforehand, where it is not to be measured.
    """

    model: LoadedModel
    case: Case
    optimizer_name: str
    batch: int
    device: Device = field(init=False)
    _inputs: SameInputs = field(init=False)
    _optimizer: torch.optim.Optimizer | None = field(init=False, default=None)
    _found: dict[object, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.device = devices.of(self.case.device)
        self.model.fit(self.case.length)
        self._inputs = SameInputs(*self.model.inputs(self.case.length, self.batch))
        if self.case.mode == "train" and self.optimizer_name != "none":
            kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[self.optimizer_name]
            self._optimizer = kind(self.model.step.parameters(), lr=_LEARNING_RATE)

    def __call__(self) -> None:
        args, kwargs = self._inputs.take()
        if self.case.mode == "infer":
            self.model.call(*args, **kwargs)
            return
        self.model.step.zero_grad(set_to_none=True)
        self.model.call(*args, **kwargs).backward()
        if self._optimizer is not None:
            self._optimizer.step()

    def renew(self) -> None:
        """Forget what a call has left in the inputs, in a cache, say; there is nothing to do where they are tensors."""
        self._inputs.renew()

    @property
    def timed(self) -> Call:
        """The step as it is to be timed, without what makes its inputs anew."""
        return self._inputs.timed(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a record should say of the inputs."""
        return self._inputs.notes

    @property
    def inputs(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        return self._inputs.take()

    @property
    def module(self) -> torch.nn.Module:
        """The bare model, without the head of a training step."""
        return self.model.module

    @property
    def step(self) -> torch.nn.Module:
        """What a call runs."""
        return self.model.step

    @property
    def mode(self) -> str:
        return self.case.mode

    @property
    def length(self) -> int:
        return self.case.length

    def peak_memory(self, call: Callable[[], None] | None = None) -> Reading:
        """The most bytes that PyTorch held during one call of the step, what is resident before it included."""
        self.close()
        self.renew()
        resident = self.resident()
        peak = self.device.peak_memory(self if call is None else call).peak + resident
        return Reading(value=float(peak), samples=(peak,), detail={"resident": resident})

    def once(self, look: Callable[[Any], Found]) -> Found:
        """What `look` finds about this step; it looks once, however many indicators ask."""
        if look not in self._found:
            self._found[look] = look(self)
        found: Found = self._found[look]
        return found

    def resident(self) -> int:
        """Bytes that are there before a step: parameters, buffers, inputs and the optimizer's state."""
        state = dict(self._optimizer.state) if self._optimizer is not None else {}
        return resident_bytes(self.model.step, (self._inputs.current, list(state.values())))

    def close(self) -> None:
        """Drop the gradients, which would count as another case's memory."""
        self.model.step.zero_grad(set_to_none=True)

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
from pyprof.layers.generation import unchanged
from pyprof.layers.step_inputs import SameInputs
from pyprof.models.architecture import Inputs
from pyprof.models.loaded import LoadedModel
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.study_parts import Training
from pyprof.timing.clock import Call
from pyprof.worker.optimizers import Trainer, trainer


def free(device: Device) -> None:
    """Give back what nothing refers to any more; an exception's traceback, say, keeps tensors alive in cycles."""
    gc.collect()
    device.release()


TellHowFar = Callable[[str, float], None]


def tell_nobody(what: str, left: float) -> None:
    """For what nobody asked to be told."""


@dataclass
class Step:
    """One step of a loaded model, ready to be called: a forward, or forward, loss, backward and maybe an optimizer.

    Each call finds the inputs as they were given; `renew` sees to that beforehand, where it is not to be measured. Once
    it is captured, a call is a replay, which finds them where they were then. The optimizer is the case's, or
    `optimizer_name` where a study has one for all cases; `loader` names the function that gives the examples of
    ``wall_clock``. `tell` is told how far a reading is that takes long, and the seconds that are left.
    """

    model: LoadedModel
    case: Case
    optimizer_name: str
    batch: int
    training: Training = field(default_factory=Training)
    loader: str | None = None
    tell: TellHowFar = tell_nobody
    device: Device = field(init=False)
    _inputs: SameInputs = field(init=False)
    _trainer: Trainer | None = field(init=False, default=None)
    _found: dict[object, Any] = field(init=False, default_factory=dict)
    _replay: Call | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.device = devices.of(self.case.device)
        self.model.fit(self.case.length)
        inputs = self.model.inputs(self.case.length, self.batch)
        self._inputs = SameInputs(*inputs, unchanged(inputs))
        name = self.optimizer_name if self.case.optimizer == "none" else self.case.optimizer
        if self.case.mode == "train" and name != "none":
            self._trainer = trainer(name, self.model.step.parameters(), captured=self.case.launch == "graph")

    def __call__(self) -> None:
        if self._replay is None:
            self._take()
        else:
            self._replay()

    def _take(self) -> None:
        self._run(self._inputs.take)

    def on(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A step on other arguments, which are moved to the model's device and type before; never a replay."""
        moved = self.model.moved(args, kwargs)
        self._run(lambda: moved)

    def _run(self, inputs: Callable[[], Inputs]) -> None:
        def backward() -> None:
            args, kwargs = inputs()
            self.model.step.zero_grad(set_to_none=True)
            self.model.call(*args, **kwargs).backward()

        if self.case.mode != "train":
            args, kwargs = inputs()
            self.model.call(*args, **kwargs)
        elif self._trainer is None:
            backward()
        else:
            self._trainer.step(backward)

    def capture(self, capture: Callable[[Call], Call] | None = None) -> None:
        """Make every call a replay of the step, captured by the device unless something else is given.

        What was captured before is forgotten. Raises UsageError where the step cannot be captured.
        """
        self.uncapture()
        self._inputs.renew()
        self._replay = (self.device.capture if capture is None else capture)(self._take)

    def uncapture(self) -> None:
        """Forget what was captured, and give its memory back."""
        if self._replay is not None:
            self._replay = None
            free(self.device)

    @property
    def helpers(self) -> tuple[int, ...]:
        """No other process works for this one."""
        return ()

    @property
    def is_captured(self) -> bool:
        return self._replay is not None

    def renew(self) -> None:
        """Forget what a call has left in the inputs, in a cache, say; there is nothing to do where they are tensors."""
        if self._replay is None:
            self._inputs.renew()

    @property
    def timed(self) -> Call:
        """The step as it is to be timed, without what makes its inputs anew."""
        return self if self.is_captured else self._inputs.timed(self)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a record should say of the inputs."""
        return self._inputs.notes

    @property
    def inputs(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments as the next step finds them."""
        self._inputs.renew()
        return self._inputs.current

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

    def once(self, look: Callable[[Any], Found], *, replayed: bool = False) -> Found:
        """What `look` finds about this step; it looks once, however many indicators ask.

        A captured step is looked at as it was before, since a replay calls no operators, unless it is to be `replayed`.
        """
        if look not in self._found:
            replay = self._replay
            if not replayed:
                self._replay = None
            try:
                self._found[look] = look(self)
            finally:
                self._replay = replay
        found: Found = self._found[look]
        return found

    def resident(self) -> int:
        """Bytes that are there before a step: parameters, buffers, inputs and the optimizer's state."""
        return resident_bytes(self.model.step, (self._inputs.current, self.optimizer_state))

    @property
    def optimizer_state(self) -> list[torch.Tensor]:
        """The tensors that the optimizer keeps between two steps."""
        return [] if self._trainer is None else self._trainer.state

    def close(self) -> None:
        """Drop the gradients, which would count as another case's memory."""
        self.model.step.zero_grad(set_to_none=True)

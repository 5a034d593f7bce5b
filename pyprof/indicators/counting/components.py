"""What the memory holds at the moment of its peak, by what it is for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from torch import Tensor, nn

from pyprof.device.memory import resident_bytes, tensors_in
from pyprof.device.weights import plain_tensors
from pyprof.indicators.counting.saved import SavedTensors
from pyprof.indicators.indicator import Step


@dataclass(frozen=True)
class Components:
    """Bytes at the peak of one step; they sum to it.

    `parameters` are those of the model and of a training step's head, `buffers` include tensors that are plain
    attributes and packed weights. `gradients` are those that are accumulated already, `activations` what autograd keeps
    for the backward, `workspace` all else that the step has allocated and not given back: outputs that nothing keeps,
    gradients on their way, what an operator needs while it runs.
    """

    parameters: int
    buffers: int
    inputs: int
    optimizer_state: int
    gradients: int
    activations: int
    workspace: int

    @property
    def peak(self) -> int:
        """Their sum: the peak, what was there before the step included."""
        return sum(vars(self).values())


def components_of(step: Step) -> Components:
    """Run one step and account for its peak.

    Activations and gradients change at known moments, so that it is enough to ask there whether the peak has risen
    since the last one: if so, it fell into that interval, in which both were constant. Raises UsageError where the
    device does not tell its peak while a step runs.
    """
    step.renew()
    module = step.step
    parameters = resident_bytes(None, list(module.parameters()))
    weights = resident_bytes(module)
    with_inputs = resident_bytes(module, step.inputs)
    state = step.optimizer_state
    resident = resident_bytes(module, (step.inputs, state))
    peak = _Peak()
    there = (*module.parameters(), *module.buffers(), *plain_tensors(module), *tensors_in(step.inputs))
    peak.saved = SavedTensors(there, peak.look)

    def run(tell: Callable[[], int]) -> None:
        peak.tell = tell
        with ExitStack() as stack:
            stack.enter_context(peak.saved.hooks())
            peak.watch(module, stack)
            step()
        peak.look()

    above = step.device.watched_peak_memory(run).peak
    return Components(
        parameters=parameters,
        buffers=weights - parameters,
        inputs=with_inputs - weights,
        optimizer_state=resident - with_inputs,
        gradients=peak.gradients_then,
        activations=peak.saved_then,
        workspace=above - peak.gradients_then - peak.saved_then,
    )


class _Peak:
    """What was kept and accumulated when the peak last rose."""

    saved: SavedTensors
    tell: Callable[[], int]

    def __init__(self) -> None:
        self._highest = self._gradients = 0
        self._last: Tensor | None = None
        self._seen = set[int]()
        self.gradients_then = self.saved_then = 0

    def look(self) -> None:
        """Before anything changes: whether the peak has risen since the last look."""
        highest = self.tell()
        if highest > self._highest:
            self._highest = highest
            self.gradients_then, self.saved_then = self._gradients, self.saved.now
        if self._last is not None and self._last.grad is None:
            # They were dropped, for a second pass of the same step.
            self._seen.clear()
            self._gradients, self._last = 0, None

    def watch(self, module: nn.Module, stack: ExitStack) -> None:
        """Be told of every gradient when it is there, until the stack is unwound."""

        def accumulated(parameter: Tensor) -> None:
            if id(parameter) not in self._seen and parameter.grad is not None:
                self.look()
                self._seen.add(id(parameter))
                self._gradients += resident_bytes(None, parameter.grad)
                self._last = parameter

        for parameter in module.parameters():
            if parameter.requires_grad:
                handle = parameter.register_post_accumulate_grad_hook(accumulated)  # type: ignore[no-untyped-call]
                stack.callback(handle.remove)

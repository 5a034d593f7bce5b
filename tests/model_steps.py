"""Steps as the worker makes them, for a model of the registry or a module at hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pyprof import device as devices
from pyprof.models import registry
from pyprof.records.case import Case
from pyprof.worker.step import Step


def registry_step(
    model: str,
    length: int,
    mode: Any = "infer",
    attention: str = "eager",
    size: str = "tiny",
    optimizer: str = "none",
    batch: int = 1,
) -> Step:
    loaded = registry.load(model, size=size, attention=attention, mode=mode, longest=length)
    return Step(loaded, Case(model, length, mode, attention, size, batch), optimizer, batch)


class PlainStep:
    """A module called on tensors; in train mode the sum of its output goes backward, and an optimizer may follow."""

    def __init__(
        self,
        module: nn.Module,
        *args: torch.Tensor,
        train: bool = False,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.module, self.step, self.inputs = module, module, (args, {})
        self.mode, self.length, self.batch = "train" if train else "infer", 1, 1
        self.device = devices.of("cpu")
        self.loader = None
        self._optimizer = optimizer
        self._found: dict[Any, Any] = {}

    def __call__(self) -> None:
        if self.mode == "infer":
            with torch.inference_mode():
                self.module(*self.inputs[0])
            return
        self.module.zero_grad(set_to_none=True)
        self._loss().backward()
        if self._optimizer is not None:
            self._optimizer.step()

    def _loss(self) -> torch.Tensor:
        output = self.module(*self.inputs[0])
        loss: torch.Tensor = (output[0] if isinstance(output, tuple) else output).sum()
        return loss

    def renew(self) -> None:
        pass

    def close(self) -> None:
        self.module.zero_grad(set_to_none=True)

    @property
    def optimizer_state(self) -> list[torch.Tensor]:
        state = [] if self._optimizer is None else list(self._optimizer.state.values())
        return [each for held in state for each in held.values() if isinstance(each, torch.Tensor)]

    def once(self, look: Any, *, replayed: bool = False) -> Any:
        if look not in self._found:
            self._found[look] = look(self)
        return self._found[look]

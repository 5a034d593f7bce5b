"""What the ranks of a test do: call a sharded model, and profile it."""

from __future__ import annotations

from typing import Any

import sharded_models
import torch
from torch import nn

from pyprof.layers.instrument import instrument
from pyprof.layers.kinds import COMMUNICATION
from pyprof.worker.rank import Place

LENGTH, BATCH = 12, 2


def built(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A model of `sharded_models` and its input; the same weights and numbers in every process."""
    torch.manual_seed(3)
    model, inputs = getattr(sharded_models, name)()
    torch.manual_seed(4)
    return model, *inputs(LENGTH, BATCH)


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """The whole gradients by the names of the parameters."""
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        whole = parameter.grad.full_tensor() if hasattr(parameter.grad, "full_tensor") else parameter.grad
        found[name] = whole.detach().clone()
    return found


class Work:
    def join(self, place: Place) -> None:
        self.place = place

    def called(self, name: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The output, and the gradients of its sum of squares."""
        model, x = built(name)
        output = model(x)
        output.square().sum().backward()
        return output.detach(), gradients(model)

    def output(self, name: str) -> torch.Tensor:
        model, x = built(name)
        with torch.no_grad():
            return model(x)

    def looked_at(self, name: str, recorder: str) -> dict[str, Any]:
        """What probes tell of a training step, and whether anything of the watch is left afterwards."""
        model, x = built(name)
        model(x).sum().backward()
        before = self._places()
        probes = instrument(model, backward=True, recorder=recorder)  # type: ignore[arg-type]
        with probes:
            during = self._places()
            for _ in range(3):
                self.place.begin()
                with probes.step():
                    model(x).sum().backward()
                with probes.plain_step():
                    paused = self._places()
                    model(x).sum().backward()
        profile = probes.profile()
        layers = [each for each in profile.layers if each.kind == COMMUNICATION]
        return {
            "kinds": profile.kinds(),
            "step": profile.step_seconds,
            "layers": {each.path: (each.calls, each.forward_seconds, each.backward_seconds) for each in layers},
            "parents": {each.path: profile.layers[each.parent or 0].path for each in layers},
            "attached": during != before,
            "left": self._places() != before or paused != before,
        }

    @staticmethod
    def _places() -> list[Any]:
        """What stands where communication is looked up."""
        from torch import distributed

        operators = torch.ops._c10d_functional
        return [distributed.Work.wait, distributed.ProcessGroup.allreduce, operators.all_reduce, operators.wait_tensor]

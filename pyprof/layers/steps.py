"""Profile a module for some steps: what `pyprof.profile` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from pyprof.errors import UsageError
from pyprof.layers.inference import Inference
from pyprof.layers.instrument import Probes, Rules, check_module, instrument
from pyprof.layers.profile import Profile
from pyprof.layers.recorder import RecorderName
from pyprof.layers.snapshot import given_back
from pyprof.layers.step_inputs import StepInputs
from pyprof.records.noise import SystemPart, SystemTime

_MOST_STEPS = 50


def profile(
    module: nn.Module,
    *args: Any,
    mode: str = "infer",
    seconds: float = 2.0,
    rules: Rules = (),
    recorder: RecorderName = "native",
    **kwargs: Any,
) -> Profile:
    """What each layer of `module` costs when it is called with these arguments, as means over some steps, in seconds.

    `mode` is "infer" (inference_mode, or what of it the module bears: see the profile's notes) or "train" (forward,
    loss, backward; the loss is the output's own `loss`, or else the mean of its floating-point tensors). Where the
    module is in that mode already, its parts keep theirs. Probes are attached after a warm-up, so that what the first
    forward builds is seen; then steps are taken for about `seconds`, at least one and at most 50. Afterwards the
    module, its inputs and the random state are given back as they were, whatever happened: see
    `pyprof.layers.snapshot`.

    Raises UsageError for another mode, and where nothing in the output can be trained on.
    """
    if mode not in ("infer", "train"):
        raise UsageError(f"there is no mode {mode!r}: choose infer or train")
    check_module(module)
    inputs = StepInputs(args, kwargs)
    inference = Inference()

    def forward() -> Any:
        return module(*inputs.args, **inputs.kwargs)

    def step() -> None:
        if mode == "train":
            torch.autograd.backward(loss_of(forward()))
        else:
            forward()

    with given_back(module, (args, kwargs)) as given:

        def prepare() -> None:
            given.drop_gradients()
            inputs.renew()

        if mode == "infer" or any(map(is_lazy, (*module.parameters(), *module.buffers()))):
            # What a forward builds in evaluation mode has seen no data: its running statistics are still those of old.
            given.set_mode(False)
            inference.settle(forward, normal_tensors=True)
            given.adopt()
        given.set_mode(mode == "train")
        prepare()
        if mode == "infer":
            inference.settle(forward)
        with torch.inference_mode(False), torch.enable_grad() if mode == "train" else inference():
            if mode == "train":
                step()
            given.adopt()
            probes = instrument(module, backward=mode == "train", rules=rules, recorder=recorder)
            with probes:
                system = record_steps(probes, step, prepare, seconds)
    profile = replace(probes.profile(), system=system)
    return replace(profile, notes=(*profile.notes, *(note for note in (inference.note, inputs.note) if note)))


def record_steps(
    probes: Probes, step: Callable[[], object], prepare: Callable[[], object], seconds: float
) -> SystemPart | None:
    """Take marked steps for about `seconds`, 1 to 50; `prepare` runs before each one, outside of it.

    Returns what the system took of a step, None where it doesn't tell.
    """
    begin = time.monotonic()
    system: list[SystemTime] = []
    for _ in range(_MOST_STEPS):
        prepare()
        before = SystemTime.now()
        with probes.step():
            step()
        system.append(SystemTime.now() - before)
        if time.monotonic() - begin >= seconds:
            break
    return SystemPart.of(system)


def loss_of(output: Any) -> torch.Tensor:
    """A scalar to train on: the output's own `loss`, or the mean of its floating-point tensors that need a gradient."""
    loss = getattr(output, "loss", None)
    if isinstance(loss, torch.Tensor):
        return loss
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    if not tensors:
        raise UsageError("nothing in the module's output needs a gradient: profile it with mode='infer'")
    return torch.stack([tensor.float().mean() for tensor in tensors]).sum()

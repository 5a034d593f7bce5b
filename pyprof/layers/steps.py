"""Profile a module for some steps: what `pyprof.profile` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from pyprof.errors import UsageError
from pyprof.layers.instrument import Probes, Rules, instrument
from pyprof.layers.profile import Profile
from pyprof.layers.recorder import RecorderName

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

    `mode` is "infer" (inference_mode) or "train" (forward, loss, backward; the loss is the output's own `loss`, or
    else the mean of its floating-point tensors). After one step of warm-up, steps are taken for about `seconds`, at
    least one and at most 50. Afterwards the training flags of the module and of all in it, and the gradients of its
    parameters, are what they were; what a forward itself changes (running means of a batch normalisation, say) stays
    changed.

    Raises UsageError for another mode, and where nothing in the output can be trained on.
    """
    if mode not in ("infer", "train"):
        raise UsageError(f"there is no mode {mode!r}: choose infer or train")
    was_training = [(layer, layer.training) for layer in module.modules()]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    probes = instrument(module, backward=mode == "train", rules=rules, recorder=recorder)

    def step() -> None:
        if mode == "train":
            torch.autograd.backward(loss_of(module(*args, **kwargs)))
        else:
            module(*args, **kwargs)

    def forget_gradients() -> None:
        for parameter, _ in gradients:
            parameter.grad = None

    module.train(mode == "train")
    try:
        with torch.inference_mode() if mode == "infer" else nullcontext():
            forget_gradients()
            step()
            with probes:
                record_steps(probes, step, forget_gradients, seconds)
    finally:
        for layer, training in was_training:
            layer.training = training
        for parameter, gradient in gradients:
            parameter.grad = gradient
    return probes.profile()


def record_steps(probes: Probes, step: Callable[[], object], prepare: Callable[[], object], seconds: float) -> None:
    """Take marked steps for about `seconds`, 1 to 50; `prepare` runs before each one, outside of it."""
    begin = time.monotonic()
    for _ in range(_MOST_STEPS):
        prepare()
        with probes.step():
            step()
        if time.monotonic() - begin >= seconds:
            return


def loss_of(output: Any) -> torch.Tensor:
    """A scalar to train on: the output's own `loss`, or the mean of its floating-point tensors that need a gradient."""
    loss = getattr(output, "loss", None)
    if isinstance(loss, torch.Tensor):
        return loss
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    if not tensors:
        raise UsageError("nothing in the module's output needs a gradient: profile it with mode='infer'")
    return torch.stack([tensor.float().mean() for tensor in tensors]).sum()

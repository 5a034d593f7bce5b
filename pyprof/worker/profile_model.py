"""Profile the layers of a loaded model for some seconds, outside any study."""

from __future__ import annotations

import torch

from pyprof.layers.instrument import instrument
from pyprof.layers.profile import Profile
from pyprof.layers.steps import record_steps
from pyprof.models.loaded import LoadedModel
from pyprof.timing.clock import Call


def step_of(loaded: LoadedModel, length: int, batch: int) -> Call:
    """A step on fresh inputs: inference, or forward, loss and backward; gradients add up from step to step."""
    args, kwargs = loaded.inputs(length, batch)

    def step() -> None:
        if loaded.mode == "train":
            loaded.step(*args, **kwargs).backward()
        else:
            with torch.inference_mode():
                loaded.step(*args, **kwargs)

    return step


def profile_model(loaded: LoadedModel, length: int, batch: int, seconds: float) -> Profile:
    """Some marked steps of what a study would time, after one step of warm-up; times in seconds."""
    step = step_of(loaded, length, batch)

    def prepare() -> None:
        loaded.step.zero_grad(set_to_none=True)

    probes = instrument(loaded.step, backward=loaded.mode == "train", rules=loaded.kinds)
    step()
    with probes:
        record_steps(probes, step, prepare, seconds)
    return probes.profile()

"""Look at the layers of a loaded model for some seconds, outside of any study."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from pyprof.layers.instrument import instrument
from pyprof.layers.profile import Profile
from pyprof.layers.steps import record_steps
from pyprof.models.loaded import LoadedModel


def profile_model(loaded: LoadedModel, length: int, batch: int, seconds: float) -> Profile:
    """Some marked steps of what a study would time, after one step of warm-up; times in seconds."""
    train = loaded.mode == "train"
    args, kwargs = loaded.inputs(length, batch)

    def step() -> None:
        output = loaded.step(*args, **kwargs)
        if train:
            output.backward()

    def prepare() -> None:
        loaded.step.zero_grad(set_to_none=True)

    probes = instrument(loaded.step, backward=train, rules=loaded.kinds)
    with nullcontext() if train else torch.inference_mode():
        step()
        with probes:
            record_steps(probes, step, prepare, seconds)
    return probes.profile()

"""Profile the layers of a loaded model for some seconds, outside any study."""

from __future__ import annotations

from dataclasses import replace

from pyprof.failures import blamed
from pyprof.layers.instrument import instrument
from pyprof.layers.profile import Profile
from pyprof.layers.steps import record_steps
from pyprof.models.loaded import LoadedModel
from pyprof.timing.clock import Call


def step_of(loaded: LoadedModel, length: int, batch: int) -> Call:
    """A step on fresh inputs: inference, or forward, loss and backward; gradients add up from step to step."""
    args, kwargs = loaded.inputs(length, batch)

    def step() -> None:
        output = loaded.call(*args, **kwargs)
        if loaded.mode == "train":
            output.backward()

    return step


def profile_model(loaded: LoadedModel, length: int, batch: int, seconds: float, nvtx: bool | None = None) -> Profile:
    """Steps of what a study would time, with and without probes in turn, after one of warm-up; times in seconds.

    `nvtx` as for `pyprof.instrument`.

    Raises ModelError where the model fails.
    """
    step = step_of(loaded, length, batch)

    def prepare() -> None:
        loaded.step.zero_grad(set_to_none=True)

    with blamed(at_work(loaded.name, length, batch, loaded.mode)):
        step()
        # Only now, as the first step may have built some of the layers.
        with instrument(loaded.step, backward=loaded.mode == "train", rules=loaded.kinds, nvtx=nvtx) as probes:
            plain, system = record_steps(probes, step, prepare, seconds)
    profile = probes.profile()
    return replace(profile, plain=plain, system=system, notes=(*profile.notes, *loaded.notes(length)))


def at_work(model: str, length: int, batch: int, mode: str) -> str:
    """The beginning of the sentence for a model that fails while it is run."""
    return f"{model} failed at length {length} and batch {batch} in {mode} mode"

"""Profile the layers of a loaded model for some seconds, outside any study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from pyprof.failures import blamed
from pyprof.layers.captured import captured_notes
from pyprof.layers.generation import unchanged
from pyprof.layers.instrument import Probes, instrument
from pyprof.layers.profile import Profile
from pyprof.layers.step_inputs import SameInputs
from pyprof.layers.steps import record_steps
from pyprof.models.loaded import LoadedModel
from pyprof.worker.captured_step import eager_profile


class Together(Protocol):
    """Processes that do the same at the same time."""

    def begin(self) -> None:
        """Wait until all are here."""
        ...

    def agree(self, stop: bool) -> bool:
        """Whether any of them wants to stop."""
        ...


class ModelStep:
    """Steps of a loaded model on the same inputs: a forward, or forward, loss and backward; gradients add up."""

    def __init__(self, loaded: LoadedModel, length: int, batch: int) -> None:
        self._loaded = loaded
        inputs = loaded.inputs(length, batch)
        self.inputs = SameInputs(*inputs, unchanged(inputs))

    def __call__(self) -> None:
        args, kwargs = self.inputs.take()
        output = self._loaded.call(*args, **kwargs)
        if self._loaded.mode == "train":
            output.backward()


def step_of(loaded: LoadedModel, length: int, batch: int) -> ModelStep:
    """A step on fresh inputs."""
    return ModelStep(loaded, length, batch)


def profile_model(
    loaded: LoadedModel,
    length: int,
    batch: int,
    seconds: float,
    nvtx: bool | None = None,
    launch: str = "eager",
    draw: Callable[[Probes], object] | None = None,
    events: bool = False,
    together: Together | None = None,
) -> Profile:
    """Steps of what a study would time, with and without probes in turn, after one of warm-up; times in seconds.

    `nvtx` and `events` as for `pyprof.instrument`. With the launch "graph" the steps are replays of one that was
    captured into a CUDA graph, and the notes say where that takes another path than an eager step does. `draw` gets
    the probes when one more step has been taken, whose memory was followed and which is in no figure of the profile.
    `together` are other processes that take every step at the same time.

    Raises ModelError where the model fails, and UsageError where its step cannot be captured.
    """
    step = step_of(loaded, length, batch)

    def prepare() -> None:
        loaded.step.zero_grad(set_to_none=True)
        step.inputs.renew()
        if together is not None:
            together.begin()

    def with_new_gradients() -> None:
        # As an eager step after `prepare`: a replay would otherwise add to those of the warm-up, by a kernel for each.
        loaded.step.zero_grad(set_to_none=True)
        step()

    with blamed(at_work(loaded.name, length, batch, loaded.mode)):
        step()
        # Only now, as the first step may have built some of the layers.
        train = loaded.mode == "train"
        probed = partial(instrument, loaded.step, backward=train, rules=loaded.kinds, nvtx=nvtx, events=events)
        if launch == "graph":
            eager = eager_profile(probed, prepare, step)
        with probed() as probes:
            run: Callable[[], object] = step
            before: Callable[[], object] = prepare
            if launch == "graph":
                prepare()
                run, before = probes.capture(with_new_gradients), _nothing
            agree = bool if together is None else together.agree
            plain, system = record_steps(probes, run, before, seconds, agree)
    profile = probes.profile()
    if draw is not None:
        with blamed(at_work(loaded.name, length, batch, loaded.mode)), probes:
            before()
            with probes.step(memory=True):
                run()
        draw(probes)
    notes = (*profile.notes, *loaded.notes(length), *step.inputs.notes)
    if launch == "graph":
        notes = (*notes, *captured_notes(eager, profile))
    return replace(profile, plain=plain, system=system, notes=notes)


def _nothing() -> None:
    """What there is to do before a replay."""


def at_work(model: str, length: int, batch: int, mode: str) -> str:
    """The beginning of the sentence for a model that fails while it is run."""
    return f"{model} failed at length {length} and batch {batch} in {mode} mode"

"""Profile a module for some steps: what `pyprof.profile` does."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from pyprof.errors import UsageError
from pyprof.layers import generation
from pyprof.layers.inference import Inference
from pyprof.layers.instrument import Probes, Rules, check_module, instrument
from pyprof.layers.plain_steps import PLAIN, PROBED, PlainSteps
from pyprof.layers.profile import Profile
from pyprof.layers.recorder import RecorderName
from pyprof.layers.snapshot import given_back
from pyprof.layers.step_inputs import StepInputs
from pyprof.quantity import check_seconds
from pyprof.records.noise import SystemPart
from pyprof.statistics.sequential import PrecisionLooks
from pyprof.timing.clock import time_calls
from pyprof.timing.interleave import Interleaved
from pyprof.timing.watch import Watch

_MOST_ROUNDS = 1000
_FEWEST_ROUNDS = 25
_PRECISION = 0.005


def profile(
    module: nn.Module,
    *args: Any,
    mode: str = "infer",
    seconds: float = 2.0,
    rules: Rules = (),
    recorder: RecorderName = "native",
    nvtx: bool | None = None,
    events: bool = False,
    **kwargs: Any,
) -> Profile:
    """What each layer of `module` costs when it is called with these arguments, as means over some steps, in seconds.

    `mode` is "infer" (inference_mode, or what of it the module bears: see the profile's notes) or "train" (forward,
    loss, backward; the loss is the output's own `loss`, or else the mean of its floating-point tensors). Of a decoder
    the arguments are a prompt: "prefill" is its forward as it fills a cache of keys and values, "generate" a forward
    over one more token with that cache. Where the module is in that mode already, its parts keep theirs. Probes are
    attached after a warm-up, so that what the first forward builds is seen; then steps with and without them are taken
    in turn for about `seconds`, at least one of each: what a step takes and what looking at it costs is in the
    profile's `plain`. Afterwards the module, its inputs and the random state are given back as they were, whatever
    happened: see `pyprof.layers.snapshot`. `nvtx` and `events` are as in `pyprof.instrument`.

    Raises UsageError for another mode, for seconds that are negative or no number, where nothing in the output can
    be trained on, and where a module that is no decoder is to generate.
    """
    if mode not in ("infer", "train", *generation.MODES):
        raise UsageError(f"there is no mode {mode!r}: choose infer, train, prefill or generate")
    check_seconds(seconds, "the time for the steps", or_none=True)
    check_module(module)
    name = type(module).__name__
    given_inputs = generation.prompt(module, (args, kwargs), name) if mode in generation.MODES else (args, kwargs)
    inputs = StepInputs(*given_inputs)
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

        if mode != "train" or any(map(is_lazy, (*module.parameters(), *module.buffers()))):
            # What a forward builds in evaluation mode has seen no data: its running statistics are still those of old.
            given.set_mode(False)
            inference.settle(forward, normal_tensors=True)
            if mode in generation.MODES:
                inputs = _generating(module, inputs, mode, name)
            given.adopt()
        given.set_mode(mode == "train")
        prepare()
        if mode != "train":
            inference.settle(forward)
        with torch.inference_mode(False), torch.enable_grad() if mode == "train" else inference():
            if mode == "train":
                step()
            given.adopt()
            probes = instrument(
                module, backward=mode == "train", rules=rules, recorder=recorder, nvtx=nvtx, events=events
            )
            with probes:
                plain, system = record_steps(probes, step, prepare, seconds)
    profile = replace(probes.profile(), plain=plain, system=system)
    return replace(profile, notes=(*profile.notes, *(note for note in (inference.note, inputs.note) if note)))


def _generating(module: nn.Module, prompt: StepInputs, mode: str, name: str) -> StepInputs:
    """The prompt itself, which fills a cache, or one more token with that cache."""
    prompt.renew()
    with torch.no_grad():
        if mode == generation.PREFILL:
            generation.filled(module(*prompt.args, **prompt.kwargs), name)
            return prompt
        more = generation.one_more_token(module, (prompt.args, prompt.kwargs), module, name)
    return StepInputs(*more, generation.unchanged(more))


def record_steps(
    probes: Probes,
    step: Callable[[], object],
    prepare: Callable[[], object],
    seconds: float,
    agree: Callable[[bool], bool] = bool,
) -> tuple[PlainSteps, SystemPart | None]:
    """Take rounds of a marked step and one without probes, in random order, with `prepare` before each of the two.

    They end when the time of a plain step and the ratio of the two are known to half a percent, when another round
    would end beyond `seconds`, or after 1,000; there is one at least. The device's stopwatch times both. Where a
    device's work is recorded, each of the two follows one of its kind that is neither timed nor marked: what begins or
    ends with the recording (buffers of CUPTI, on both sides) is no step's. Where several processes take these steps
    together, `agree` tells each whether any of them wants to end. Returns what the plain steps tell, and what the
    system took of one, None where it doesn't tell.
    """
    stopwatch, order = probes.device.stopwatch(), random.Random(0)
    looks = PrecisionLooks(_PRECISION, _FEWEST_ROUNDS, _MOST_ROUNDS)
    calls: dict[str, Callable[[], object]] = {PLAIN: step, PROBED: partial(probes.run_marked, step)}
    rounds = Interleaved()
    for name in calls:
        rounds.enter(name)
    begin = now = time.monotonic()
    with Watch(probes.device.throttled) as watch:
        while True:
            before = now
            for name in order.sample(list(calls), len(calls)):
                prepare()
                probes.pause() if name == PLAIN else probes.resume()
                if probes.records_device:
                    probes.settle(step)
                    prepare()
                watch.begin()
                nanoseconds = time_calls(stopwatch, calls[name])
                rounds.add(name, nanoseconds, watch.end(), watch)
                if name == PROBED:
                    probes.hand_over()
            rounds.count += 1
            now = time.monotonic()
            spent = rounds.count == _MOST_ROUNDS or 2 * now - before - begin > seconds
            if agree(spent or _suffice(rounds, looks)):
                break
        noise = watch.noise()
    probes.resume()
    plain = PlainSteps.of_rounds(rounds, looks.confidence, noise)
    return plain, SystemPart.of(rounds.system[PLAIN][rounds.begin :])


def _suffice(rounds: Interleaved, looks: PrecisionLooks) -> bool:
    """Whether the rounds tell a step's time and the probes' cost well enough."""
    if not looks.is_due(rounds.count):
        return False
    rounds.settle()
    estimates = [rounds.seconds(PLAIN, looks.confidence), rounds.ratio(PROBED, PLAIN, looks.confidence)]
    return looks.look(rounds.count, estimates) and rounds.count_settled >= _FEWEST_ROUNDS


def loss_of(output: Any) -> torch.Tensor:
    """A scalar to train on: the output's own `loss`, or the mean of its floating-point tensors that need a gradient."""
    loss = getattr(output, "loss", None)
    if isinstance(loss, torch.Tensor):
        return loss
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
    if not tensors:
        raise UsageError("nothing in the module's output needs a gradient: profile it with mode='infer'")
    return torch.stack([tensor.float().mean() for tensor in tensors]).sum()

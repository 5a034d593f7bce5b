"""A model that is ready to be measured: what is timed, its inputs, and what really runs in it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pyprof import device as devices
from pyprof.errors import UsageError
from pyprof.failures import guarded
from pyprof.layers import generation
from pyprof.layers.inference import Inference
from pyprof.layers.step_inputs import SameInputs
from pyprof.models import checkpoint, factory
from pyprof.models.architecture import Architecture, Inputs, architecture
from pyprof.models.blueprint import blueprint
from pyprof.models.registry import SIZES, Entry, Request, Rules, find
from pyprof.models.step import LightHead, LossStep, TrainStep, first_tensor
from pyprof.models.tasks import Labels, has_head, labels_for
from pyprof.models.verify import verify_attention
from pyprof.names import is_reference, nearest

# What weights and inputs are of.
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
    "autocast-bfloat16": torch.float32,
}
_MODES = ("infer", "train", *generation.MODES)


@dataclass(frozen=True)
class LoadedModel:
    """A model, fed and fitted by its architecture.

    `entry` is None for a factory or a checkpoint directory. `module` is the bare model; `step` is what is timed and
    takes what `inputs` gives (`call` runs it as its mode and dtype ask): the module itself, in train mode a module that
    returns the loss, behind a light head, or of the model's own head with what `labels` makes, where its task is known.
    `attention` is the implementation that really ran, counted in one forward pass. `kinds` are rules on
    the paths of `step`. Call `fit` with a length before `step` runs at it. `inference` is the context for a call of it
    unless it is trained.
    """

    request: Request
    entry: Entry | None
    architecture: Architecture
    step: nn.Module
    attention: str
    kinds: Rules
    remarks: tuple[str, ...] = field(default=())
    labels: Labels | None = None
    inference: Inference = field(default_factory=Inference)

    @property
    def name(self) -> str:
        return self.request.model

    @property
    def title(self) -> str:
        """The model as a heading names it: with its size, or its class where it is none of the registry's."""
        return f"{self.name} {self.request.size}" if self.entry is not None else f"{self.name} ({self.class_name})"

    @property
    def class_name(self) -> str:
        """The class of the bare model."""
        return type(self.module).__name__

    @property
    def module(self) -> nn.Module:
        return self.architecture.module

    @property
    def mode(self) -> str:
        return self.request.mode

    @property
    def unit(self) -> str:
        return self.architecture.unit

    def fit(self, length: int) -> None:
        """Prepare the state that depends on the length; cheap and idempotent.

        A factory's model is called once, for one example: so what its first forward builds is there (lazy parameters,
        whole modules) when an optimizer or probes ask for it, and it is known whether it bears inference_mode.
        Raises UsageError for a length that the model does not take, or beyond what it was loaded for.
        """
        self._check(length)
        self.architecture.fit(length)
        if isinstance(self.step, TrainStep):
            if self.step.head.classifier is None:
                self.step.head(self.try_out(length))
        elif isinstance(self.architecture, factory.Foreign) and not self.inference.settled:
            self.inference.settle(lambda: self.try_out(length))

    def try_out(self, length: int) -> Any:
        """The output for one example, without compiling the model for a batch that may never come again.

        Raises UsageError for a model that is to generate and fills no cache.
        """
        inputs = self.inputs(length, 1)
        args, kwargs = SameInputs(*inputs, generation.unchanged(inputs)).take()
        with _autocast(self.request):
            output = self.module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self.mode in generation.MODES:
            generation.filled(output, self.name)
        return output

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call `step` as its mode and its dtype ask for: without gradients unless it is trained, under autocast."""
        with nullcontext() if self.mode == "train" else self.inference(), _autocast(self.request):
            return self.step(*args, **kwargs)

    def inputs(self, length: int, batch: int) -> Inputs:
        """Positional and keyword arguments of `step` on its device; the same ones in every call.

        In mode generate they are one more token and the cache that as many tokens have filled as the length says.
        Raises UsageError for a length or a batch that the model does not take, and for a model that is no decoder where
        it is to generate.
        """
        self._check(length)
        if batch < 1:
            raise UsageError(f"a batch holds at least one example, not {batch}")
        generator = torch.Generator().manual_seed(self.request.seed * 1_000_003 + length * 1009 + batch)
        args, kwargs = self.architecture.inputs(length, batch, generator)
        if self.labels is not None:
            kwargs = kwargs | self.labels((args, kwargs), length, generator)
        given = self.moved(args, kwargs)
        if self.mode not in generation.MODES:
            return given
        filling = generation.prompt(self.module, given, self.name)
        if self.mode == generation.PREFILL:
            return filling
        return generation.one_more_token(self.module, filling, self._filling, self.name)

    def _filling(self, *args: Any, **kwargs: Any) -> Any:
        """The output for a prompt, in tensors that a step under inference_mode takes and one under no_grad as well."""
        with torch.no_grad(), _autocast(self.request):
            return self.module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    def notes(self, length: int) -> tuple[str, ...]:
        """What a record of this length should say beside its numbers: padding, interpolation, what was switched off."""
        inference = () if self.inference.note is None else (self.inference.note,)
        return (*self.remarks, *self.architecture.notes(length, self.mode), *inference)

    def _check(self, length: int) -> None:
        if self.entry is not None:
            self.entry.check_length(length)
        elif length < 1:
            raise UsageError(f"{self.name} takes lengths from 1, not {length}")
        if length > self.request.longest:
            raise UsageError(f"{self.name} was loaded for lengths up to {self.request.longest}, not {length}")

    def moved(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
        """Arguments on the model's device, floating-point tensors in its type."""
        return self._moved(args), self._moved(kwargs)

    def _moved(self, value: Any) -> Any:
        """Tensors of any nesting on the model's device, floating-point ones in its type."""
        if isinstance(value, Tensor):
            dtype = _DTYPES[self.request.dtype] if value.is_floating_point() else value.dtype
            return value.to(self.request.device, dtype)
        if isinstance(value, dict):
            return {key: self._moved(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(self._moved(item) for item in value)
        return value


def _autocast(request: Request) -> AbstractContextManager[object]:
    if not request.dtype.startswith("autocast-"):
        return nullcontext()
    return torch.autocast(torch.device(request.device).type, torch.bfloat16)


def load_model(request: Request) -> LoadedModel:
    """Build what `pyprof.models.registry.load` describes."""
    _check_request(request)
    # From here on it is PyTorch's name for the device that counts.
    request = replace(request, device=devices.usable(request.device).torch_name)
    entry = find(request.model)
    built, remarks = _build(request, entry)
    built.check_dtype(_DTYPES[request.dtype])
    module = _placed(built.module, request)
    module.eval()
    # One more token needs a position too.
    built.extend(request.longest + (request.mode == generation.GENERATE))
    width = None if isinstance(built, factory.Foreign) else _verify(request, entry, built)
    module.train(request.mode == "train")
    kinds = entry.kinds if entry is not None else ()
    loaded = LoadedModel(request, entry, built, module, request.attention, kinds, remarks)
    if request.mode in generation.MODES and not isinstance(built, factory.Foreign):
        with torch.no_grad():
            loaded.try_out(min(built.probe, request.longest))
    if request.mode == "train":
        own = entry is None and not isinstance(built, factory.Foreign) and has_head(module)
        loaded = _with_own_loss(loaded) if own else _with_light_head(loaded, width)
    if request.compiled:
        # In place: the step stays the module that it is, with the same paths.
        loaded.step.compile()
    return loaded


def _placed(module: nn.Module, request: Request) -> nn.Module:
    """The module on its device and of its dtype; untouched where it is there, as one that is sharded has to be."""
    device, dtype = torch.device(request.device), _DTYPES[request.dtype]
    held = [*module.parameters(), *module.buffers()]
    if all(each.device == device and (each.dtype == dtype or not each.is_floating_point()) for each in held):
        return module
    return module.to(device, dtype)


def _with_light_head(loaded: LoadedModel, width: int | None) -> LoadedModel:
    request = loaded.request
    head = LightHead(width, request.seed).to(request.device, _DTYPES[request.dtype])
    kinds = (("head", "head"), *((rf"model\.(?:{rule})", kind) for rule, kind in loaded.kinds))
    return replace(loaded, step=TrainStep(loaded.module, head), kinds=kinds)


def _with_own_loss(loaded: LoadedModel) -> LoadedModel:
    """A checkpoint's own head and loss; the mean of its outputs where labels for its task are not known."""
    name = loaded.class_name
    loaded = replace(loaded, step=LossStep(loaded.module), labels=labels_for(loaded.module, loaded.architecture.config))
    if loaded.labels is None:
        remark = f"the loss is the mean of the outputs: labels for the task of {name} are not known"
    else:
        remark = f"the loss is that of {name} itself, on random labels"
    return replace(loaded, remarks=(*loaded.remarks, remark))


def _check_request(request: Request) -> None:
    _check_choice("mode", request.mode, _MODES)
    _check_choice("dtype", request.dtype, tuple(_DTYPES))
    entry = find(request.model)
    _check_choice("size", request.size, SIZES if entry is None else entry.sizes)
    if entry is None and request.size != "base":
        raise UsageError(f"{request.model} comes in one size only: leave the size at base")
    if entry is None and request.weights is not None:
        raise UsageError(f"weights are for models of the registry: leave them out for {request.model}")
    if request.base_model and (entry is not None or is_reference(request.model)):
        raise UsageError(f"{request.model} is no checkpoint with a head: leave the base model out")
    if request.inputs is not None and (entry is not None or not is_reference(request.model)):
        raise UsageError(f"inputs can be given for a factory only, and {request.model} is none: leave them out")
    if entry is not None:
        entry.check_length(request.longest)
        entry.check_attention(request.attention, request.mode)
        entry.check_mode(request.mode)


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"there is no {what} {value!r}: {nearest(value, choices)}")


def _build(request: Request, entry: Entry | None) -> tuple[Architecture, tuple[str, ...]]:
    """The model on the CPU, and remarks on its weights."""
    if entry is None and is_reference(request.model):
        return factory.load_factory(request.model, request.seed, request.inputs), ()
    if entry is None:
        module, config, remarks = checkpoint.load_directory(
            request.model, request.attention, base_model=request.base_model
        )
        try:
            return architecture(module, config), remarks
        except LookupError as error:
            raise UsageError(
                f"the model in {request.model} takes {error.args[0]!r}, for which there is no input maker: "
                "write a package.module:function for it"
            ) from error
    plan = blueprint(entry, request.size)
    if request.weights is None:
        return architecture(plan.build(request.attention, request.seed), plan.config), ()
    module, remarks = checkpoint.load_weights(plan, request.weights, request.attention)
    return architecture(module, module.config), remarks


def _verify(request: Request, entry: Entry | None, built: Architecture) -> int:
    """The width of the model's hidden states, after a forward pass that showed which attention runs."""
    length = max(built.probe, entry.shortest) if entry is not None else built.probe
    length = min(length, request.longest)
    built.fit(length)
    probe = LoadedModel(replace(request, mode="infer"), None, built, built.module, request.attention, ())
    inputs = probe.inputs(length, 1)
    if entry is not None:
        with _autocast(request):
            output = verify_attention(built.module, inputs, request.attention, entry.attentions)
    else:
        choices = checkpoint.attentions(request.model)
        how = "alone, so" if request.dtype == "float32" else f"alone in {request.dtype}, so choose float32, or"
        what = f"the model in {request.model} does not run on {length} {built.unit}s {how} write a factory for it"
        with _autocast(request):
            output = guarded(what, verify_attention, built.module, inputs, request.attention, choices)
    return int(first_tensor(output).shape[-1])

"""What the user gave, and how it is given back: one snapshot, taken before anything is touched.

Whoever runs a user's module gives everything back that a run moves: the training flags, the contents of buffers and of
other tensors that the module holds (in place, so that whatever shares their memory sees it too), what attributes were
bound to, gradients, what requires a gradient, and the random state. Weights are copied where they take no more than a
quarter of the memory that is free on their device; of larger ones, what a forward itself writes into its parameters
stays written. What the first forward builds (lazy parameters, whole modules) stays, without gradients, in the mode of
the module that holds it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pyprof.device import registry
from pyprof.device.memory import tensors_in
from pyprof.errors import UsageError

# The most of the free memory that copies of the weights may take.
COPIED_SHARE = 0.25


@contextmanager
def given_back(module: nn.Module | None = None, inputs: object = ()) -> Iterator[Snapshot]:
    """Give a module and its inputs back as they are now, and the random state, whatever happens in the block.

    `inputs` may nest tensors in mappings, sequences and dataclasses.
    """
    snapshot = Snapshot(module, inputs)
    try:
        yield snapshot
    finally:
        snapshot.restore()


class Snapshot:
    """The state of a module and of its inputs, and the random state; without a module only the latter two."""

    def __init__(self, module: nn.Module | None, inputs: object = ()) -> None:
        self._module = module
        self._undo_random = _random_state(module)
        self._training: dict[int, tuple[nn.Module, bool]] = {}
        self._bindings: list[tuple[MutableMapping[str, Any], str, object]] = []
        self._tensors: dict[int, _Held] = {}
        for layer in _layers(module):
            self._training[id(layer)] = layer, layer.training
            self._bindings += _bindings(layer)
        copied = _devices_with_room(module)
        for tensor in (*_tensors(module), *tensors_in(inputs)):
            if id(tensor) not in self._tensors:
                self._tensors[id(tensor)] = _Held.of(tensor, with_weights=tensor.device in copied)

    def drop_gradients(self) -> None:
        """Drop the gradients of everything in the module and of its inputs, so that a step begins without any."""
        for tensor in _tensors(self._module):
            if tensor.is_leaf:
                tensor.grad = None
        for held in self._tensors.values():
            if held.is_leaf:
                held.tensor.grad = None

    def set_mode(self, training: bool) -> None:
        """Put the module into a mode; where it is in that mode already, its parts keep theirs (frozen ones, say)."""
        assert self._module is not None
        for layer, flag in self._training.values():
            layer.training = flag
        if self._module.training != training:
            self._module.train(training)

    def adopt(self) -> None:
        """Take what has been built since, as it is now: it works in the module's mode from now on, and stays."""
        assert self._module is not None
        flags: dict[str, bool] = {}
        for path, layer in self._module.named_modules():
            if id(layer) not in self._training:
                layer.training = self._module.training
                self._training[id(layer)] = layer, flags[path.rpartition(".")[0]]
                self._bindings += _bindings(layer)
            flags[path] = self._training[id(layer)][1]
        for tensor in _tensors(self._module):
            held = self._tensors.get(id(tensor))
            if held is None or held.lazy:
                self._tensors[id(tensor)] = _Held.of(tensor, gradient=None)

    def restore(self) -> None:
        """Give everything back; what has come into being since is left without gradients."""
        self._undo_random()
        if self._module is not None:
            self.adopt()
        for layer, flag in self._training.values():
            layer.training = flag
        for table, name, value in self._bindings:
            if table.get(name) is not value:
                table[name] = value
        for held in self._tensors.values():
            held.restore()


@dataclass(frozen=True)
class _Held:
    """A tensor, and what it takes to put it back. `contents` is None where they are not copied."""

    tensor: Tensor
    lazy: bool
    is_leaf: bool
    requires_grad: bool
    gradient: Tensor | None
    memory: Tensor | None  # the same memory, for a tensor that is swapped or resized
    contents: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor, *, with_weights: bool = False, **changes: Tensor | None) -> _Held:
        if is_lazy(tensor):
            return cls(tensor, True, True, tensor.requires_grad, None, None, None)
        odd = tensor.is_meta or tensor.is_nested or tensor.layout is not torch.strided
        copied = not odd and (with_weights or not isinstance(tensor, nn.Parameter))
        with torch.inference_mode(tensor.is_inference()), torch.no_grad():
            memory = tensor.detach() if copied else None
            contents = None if memory is None else memory.clone()
        gradient = changes["gradient"] if changes else tensor.grad if tensor.is_leaf else None
        return cls(tensor, False, tensor.is_leaf, tensor.requires_grad, gradient, memory, contents)

    def restore(self) -> None:
        tensor = self.tensor
        if self.lazy or not self.is_leaf:
            return
        with torch.inference_mode(tensor.is_inference()), torch.no_grad():
            if tensor.grad_fn is not None:  # written to in place, with something that needs a gradient
                tensor.detach_()
            if tensor.requires_grad != self.requires_grad:
                tensor.requires_grad_(self.requires_grad)
            tensor.grad = self.gradient
            if self.memory is None or self.contents is None:
                return
            if _place(tensor) != _place(self.memory):
                tensor.data = self.memory
            # Only where it has changed: a write would tell a graph of the user's that what it saved is gone.
            if not torch.equal(tensor, self.contents):
                tensor.copy_(self.contents)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _devices_with_room(module: nn.Module | None) -> set[torch.device]:
    """The devices whose free memory bears a copy of the weights that a module has there."""
    weights = {id(weight): weight for layer in _layers(module) for weight in layer.parameters(recurse=False)}
    sizes: dict[torch.device, int] = {}
    for weight in weights.values():
        if not is_lazy(weight):
            sizes[weight.device] = sizes.get(weight.device, 0) + weight.nbytes
    return {device for device, size in sizes.items() if size <= COPIED_SHARE * _free_bytes(device)}


def _free_bytes(device: torch.device) -> int:
    try:
        return registry.of(str(device)).free_memory().bytes
    except UsageError:  # a device that nobody knows, or that doesn't tell
        return 0


def _layers(module: nn.Module | None) -> Iterator[nn.Module]:
    return iter(()) if module is None else module.modules()


def _tensors(module: nn.Module | None) -> Iterator[Tensor]:
    """All tensors that a module's layers hold: parameters, buffers, and those in their other attributes."""
    for layer in _layers(module):
        yield from layer.parameters(recurse=False)
        yield from layer.buffers(recurse=False)
        yield from tensors_in(vars(layer))


def _bindings(layer: nn.Module) -> Iterator[tuple[MutableMapping[str, Any], str, object]]:
    """Which names of a layer stand for tensors and modules, so that one that is bound anew can be bound back."""
    for table in (vars(layer), layer._parameters, layer._buffers, layer._modules):
        if isinstance(table, dict):  # TorchScript's are views that cannot be written to
            yield from ((table, name, value) for name, value in table.items() if isinstance(value, (Tensor, nn.Module)))


def _random_state(module: nn.Module | None) -> Callable[[], None]:
    """The state of all generators that a model may draw from; what is returned puts it back.

    These are PyTorch's of the CPU and, where it is in use, of CUDA, those of Python and of NumPy, and generators that
    are attributes of the module's layers.
    """
    own = [value for layer in _layers(module) for value in vars(layer).values() if isinstance(value, torch.Generator)]
    states = [(generator, generator.get_state()) for generator in own]
    host, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]

    def undo() -> None:
        torch.set_rng_state(host)
        random.setstate(python)
        np.random.set_state(numpy)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        for generator, state in states:
            generator.set_state(state)

    return undo

"""What a module holds beside and instead of dense parameters: packed weights, sparse ones, views of one storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from pyprof.errors import UsageError

Place = tuple[str, int]


class WeightCount:
    """Counts the weights of modules, each element of memory once, however many parameters show it.

    Tied parameters, views of one storage and weights that a module keeps packed count at the first module that shows
    them. A sparse parameter counts the values that it stores. `trainable_only` leaves out what needs no gradient, and
    so all packed weights. `bytes` are those of what was counted so far, as it is stored: quantised weights in their
    own bytes, sparse ones with their indices.
    """

    def __init__(self, *, trainable_only: bool = False) -> None:
        self._trainable_only = trainable_only
        self.bytes = 0
        self._covered: dict[Place, tuple[np.ndarray, np.ndarray]] = {}
        # The tensors and packed objects themselves, so that none is freed and gives its address to another one.
        self._held: dict[int, Any] = {}

    def add(self, module: nn.Module) -> int:
        """How many weights of the module's own, without those of the modules in it, have not been counted before.

        Raises UsageError for a lazy parameter, which has no size yet.
        """
        parameters = [parameter for parameter in module.parameters(recurse=False) if self._wanted(parameter)]
        return sum(map(self._add, parameters)) + (0 if self._trainable_only else self._add_packed(module))

    def add_all(self, module: nn.Module) -> int:
        """The same for a module and all modules in it."""
        return sum(map(self.add, module.modules()))

    def _wanted(self, parameter: Tensor) -> bool:
        return parameter.requires_grad or not self._trainable_only

    def _add(self, parameter: Tensor) -> int:
        if nn.parameter.is_lazy(parameter):
            raise UsageError("a lazy parameter has no size before the first forward pass: run one, then count")
        if id(parameter) in self._held:
            return 0
        self._held[id(parameter)] = parameter
        parts = stored(parameter)
        if _is_wrapper(parameter):
            # Packed inside of a tensor: it stands for as many weights as it has elements.
            return parameter.numel() if sum(map(self._add, parts)) else 0
        values = parts[0]
        if values.layout is not torch.strided:
            self.bytes += values.numel() * values.element_size()
            return values.numel()
        before, after = self._cover(values)
        self.bytes += after - before + sum(part.numel() * part.element_size() for part in parts[1:])
        return (after - before) // values.element_size()

    def _cover(self, tensor: Tensor) -> tuple[int, int]:
        """How many bytes of the storage were counted before this tensor, and how many are now."""
        here = place(tensor)
        known = self._covered.get(here, (np.empty(0, np.int64), np.empty(0, np.int64)))
        joined = _union(*(np.concatenate(pair) for pair in zip(known, _runs(tensor), strict=True)))
        self._covered[here] = joined
        return int((known[1] - known[0]).sum()), int((joined[1] - joined[0]).sum())

    def _add_packed(self, module: nn.Module) -> int:
        count = 0
        for owner in _packed_objects(module):
            if id(owner) not in self._held:
                self._held[id(owner)] = owner
                tensors = {place(tensor): tensor for tensor in _unpacked(owner)}
                new = [tensor for at, tensor in tensors.items() if at not in self._covered]
                count += sum(tensor.numel() for tensor in new)
                self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in new)
        return count


def place(tensor: Tensor) -> Place:
    """Where a strided tensor's storage is: its device and address, or its own number where it has no memory (meta)."""
    storage = tensor.untyped_storage()
    return str(storage.device), storage.data_ptr() or storage._cdata


def stored(tensor: Tensor) -> list[Tensor]:
    """The tensors that hold what this one shows, its values first; the tensor itself where it holds them itself."""
    if _is_wrapper(tensor):
        names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
        held = (getattr(tensor, name) for name in names)
        return [part for each in held if isinstance(each, Tensor) for part in stored(each)]
    bare = tensor.detach()
    if bare.layout is torch.sparse_coo:
        return [bare._values(), bare._indices()]
    if bare.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [bare.values(), bare.crow_indices(), bare.col_indices()]
    if bare.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [bare.values(), bare.ccol_indices(), bare.row_indices()]
    return [tensor]


def _is_wrapper(tensor: Tensor) -> bool:
    """Whether a tensor is made of others, as torchao's quantised ones are."""
    return bool(is_traceable_wrapper_subclass(tensor))


def packed_weights(module: nn.Module) -> Iterator[tuple[object, list[Tensor]]]:
    """The objects in which a module and those in it keep packed weights, with what is in them as tensors.

    torch.ao's quantised layers have no parameters: their weights are in objects of C++. A tensor that is made while an
    object is unpacked lives as long as the list does.
    """
    seen: set[int] = set()
    for layer in module.modules():
        for owner in _packed_objects(layer):
            if id(owner) not in seen:
                seen.add(id(owner))
                yield owner, _unpacked(owner)


def plain_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Tensors that a module and those in it hold as plain attributes, neither parameters nor buffers."""
    for layer in module.modules():
        yield from (value for value in _attributes(layer) if isinstance(value, Tensor))


def has_constant_weights(module: nn.Module) -> bool:
    """Whether a frozen TorchScript program is in a module, whose weights are constants that no parameter shows."""
    programs = [part for part in module.modules() if isinstance(part, torch.jit.ScriptModule)]
    return any(
        isinstance(node.output().type(), torch._C.TensorType)
        for program in programs
        if next(program.parameters(), None) is None and program._c._has_method("forward")
        for node in program.graph.findAllNodes("prim::Constant")  # type: ignore[attr-defined]
    )


def why_not_countable(module: nn.Module) -> str | None:
    """Why a module's weights cannot be counted, None where they can."""
    if has_constant_weights(module):
        return "some weights are constants of a frozen TorchScript program: count them before torch.jit.freeze"
    return None


def _packed_objects(layer: nn.Module) -> list[Any]:
    return [value for value in _attributes(layer) if type(value) is torch.ScriptObject]


def _attributes(layer: nn.Module) -> Iterator[Any]:
    """What a module has as attributes, lists and dictionaries of them opened once."""
    for name, value in vars(layer).items():
        if name in ("_parameters", "_buffers", "_modules"):
            continue
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


def _unpacked(owner: Any) -> list[Tensor]:
    """The tensors in an object of packed weights; those of a recurrent cell lie in objects of their own."""
    if owner._has_method("unpack"):
        state = owner.unpack()
    elif owner._has_method("__getstate__"):
        state = owner.__getstate__()
    else:
        return []
    return list(_tensors(state))


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif type(state) is torch.ScriptObject:
        yield from _unpacked(state)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from _tensors(value)


def _runs(tensor: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of its storage that a strided tensor shows, as begins and ends of runs without a gap."""
    if not tensor.numel():
        return np.empty(0, np.int64), np.empty(0, np.int64)
    size = tensor.element_size()
    steps = sorted((stride, count) for stride, count in zip(tensor.stride(), tensor.shape, strict=True) if stride)
    run = 1
    while steps and steps[0][0] == run:
        run *= steps.pop(0)[1]
    begins = np.array([tensor.storage_offset()], np.int64)
    for stride, count in steps:
        begins = (begins[:, None] + stride * np.arange(count, dtype=np.int64)).ravel()
    return begins * size, (begins + run) * size


def _union(begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same bytes as runs that neither touch nor overlap, in order."""
    if len(begins) < 2:
        return begins, ends
    order = np.argsort(begins, kind="stable")
    begins, reach = begins[order], np.maximum.accumulate(ends[order])
    first = np.concatenate(([True], begins[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return begins[first], reach[last]

"""Memory on any device: what a call took, what is free, and the bytes that a model and its inputs occupy before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pyprof.errors import UsageError
from pyprof.quantity import format_bytes

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True)
class MemoryReading:
    """What one call allocated, in bytes.

    `peak` is the most that was live at once among what the call allocated, so memory that was there before is not in
    it; on CUDA it is rounded up by the caching allocator to blocks of 512 bytes. `base` is what PyTorch held on the
    device before; None on the host, where only the call itself is watched. `allocated` sums all `allocations`, also
    those that were freed.
    """

    peak: int
    allocated: int
    allocations: int
    base: int | None = None


@dataclasses.dataclass(frozen=True)
class MemoryBudget:
    """Bytes that may be used, and where the number comes from, in words."""

    bytes: int
    source: str

    def __str__(self) -> str:
        return f"{format_bytes(self.bytes)} ({self.source})"


def resident_bytes(module: torch.nn.Module | None, inputs: object = ()) -> int:
    """Bytes of the storages behind a module's parameters and buffers and behind the inputs, each storage once.

    Tied parameters and views of one storage count once, and a view counts its whole storage, since that is what stays
    allocated. `inputs` may nest tensors in mappings, sequences and dataclasses. Gradients are not resident: they are
    allocated by a step. Meta tensors, and lazy ones before the first forward, occupy nothing. Raises UsageError for a
    sparse tensor.
    """
    from torch.nn.parameter import is_lazy

    own = [] if module is None else [*module.parameters(), *module.buffers()]
    sizes: dict[tuple[str, int], int] = {}
    for tensor in (*own, *tensors_in(inputs)):
        if is_lazy(tensor) or tensor.is_meta:
            continue
        storage = _storage(tensor)
        place = (str(storage.device), storage.data_ptr())
        sizes[place] = max(storage.nbytes(), sizes.get(place, 0))
    return sum(sizes.values())


def tensors_in(tree: object, _around: tuple[int, ...] = ()) -> Iterator[torch.Tensor]:
    """All tensors in nested mappings, sequences and dataclasses; whatever else is in there is passed over."""
    import torch

    if isinstance(tree, torch.Tensor):
        yield tree
        return
    if id(tree) in _around:  # it holds itself
        return
    children: Iterable[object] = ()
    if isinstance(tree, Mapping):
        children = tree.values()
    elif isinstance(tree, (list, tuple, set, frozenset)):
        children = tree
    elif dataclasses.is_dataclass(tree):
        # One that is built without running its constructor may lack some.
        children = [getattr(tree, field.name, None) for field in dataclasses.fields(tree)]
    for child in children:
        yield from tensors_in(child, (*_around, id(tree)))


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    import torch

    if tensor.layout is not torch.strided:
        raise UsageError(f"the bytes of a tensor with layout {tensor.layout} cannot be counted: make it dense first")
    return tensor.untyped_storage()

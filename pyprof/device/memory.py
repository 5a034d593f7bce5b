"""Memory on any device: what a call took, what is free, and the bytes that a model and its inputs occupy before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pyprof.quantity import format_bytes

if TYPE_CHECKING:
    import torch

# What transformers derives its caches of keys and values from, and the layers in them.
_CACHES = ("Cache", "CacheLayerMixin", "LinearAttentionCacheLayerMixin")
# What its versions call a cache, in a forward's arguments and in its output.
CACHE_NAMES = ("cache", "past_key_values", "cache_params")


@dataclasses.dataclass(frozen=True)
class MemoryReading:
    """What PyTorch allocated in one call, in bytes; what NumPy or another library takes for itself is not in it.

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
    """Bytes of the storages behind what a module holds and behind the inputs, each storage once.

    A module holds parameters, buffers, tensors as plain attributes, and packed weights as torch.ao's quantised layers
    have them. Tied parameters and views of one storage count once, and a view counts its whole storage, since that is
    what stays allocated. A sparse tensor counts its values and its indices. `inputs` may nest tensors in mappings,
    sequences, dataclasses and caches of keys and values. Gradients are not resident: they are allocated by a step. Meta
    tensors, and lazy ones before the first forward, occupy nothing.
    """
    from torch.nn.parameter import is_lazy

    from pyprof.device.weights import packed_weights, place, plain_tensors, stored

    own = [] if module is None else [*module.parameters(), *module.buffers(), *plain_tensors(module)]
    sizes: dict[object, int] = {}
    for tensor in (part for whole in (*own, *tensors_in(inputs)) if not is_lazy(whole) for part in stored(whole)):
        if not tensor.is_meta:
            sizes[_identity(tensor)] = max(_bytes(tensor), sizes.get(_identity(tensor), 0))
    packed = () if module is None else packed_weights(module)
    for owner, tensors in packed:
        # Unpacking may make a copy, whose address can be another one's a moment later.
        sizes[id(owner)] = sum(
            {place(tensor): _bytes(tensor) for tensor in tensors if place(tensor) not in sizes}.values()
        )
    return sum(sizes.values())


def tensors_in(tree: object, _around: tuple[int, ...] = ()) -> Iterator[torch.Tensor]:
    """All tensors in nested mappings, sequences, dataclasses and transformers' caches of keys and values.

    Whatever else is in there is passed over.
    """
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
    elif any(base.__name__ in _CACHES for base in type(tree).__mro__):
        children = vars(tree).values()
    elif dataclasses.is_dataclass(tree):
        # One that is built without running its constructor may lack some.
        children = [getattr(tree, field.name, None) for field in dataclasses.fields(tree)]
    for child in children:
        yield from tensors_in(child, (*_around, id(tree)))


def cache_in(arguments: Mapping[str, object]) -> object:
    """The cache of keys and values among the keyword arguments of a decoder's forward, None where there is none."""
    return next((arguments[name] for name in CACHE_NAMES if arguments.get(name) is not None), None)


def _identity(tensor: torch.Tensor) -> object:
    from pyprof.device.weights import place

    return place(tensor) if _has_storage(tensor) else ("tensor", id(tensor))


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes() if _has_storage(tensor) else tensor.numel() * tensor.element_size()


def _has_storage(tensor: torch.Tensor) -> bool:
    """Whether PyTorch tells a tensor's storage; of a library's own layout (oneDNN's) it does not."""
    import torch

    return tensor.layout is torch.strided

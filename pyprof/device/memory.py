"""Memory: the exact peak of a call, and the bytes that a model and its inputs occupy before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyprof.errors import UsageError

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


def peak_bytes(fn: Callable[[], object], device: torch.device | str = "cpu") -> MemoryReading:
    """Call `fn` once and tell the peak of the memory that it allocates through PyTorch on `device`.

    On the host every allocation of PyTorch's allocator by this thread, and by the autograd threads that work for it, is
    counted to the byte; memory that libraries take for themselves is not seen. Gradients that the call leaves behind
    count as long as they are live. Raises UsageError under a running torch.profiler, which takes the only place to
    which PyTorch reports the host's allocations; `fn` must not start one itself.
    """
    return _cuda_peak(fn, device) if str(device).startswith("cuda") else _host_peak(fn)


def _host_peak(fn: Callable[[], object]) -> MemoryReading:
    import torch

    from pyprof._native import HostMemory

    if torch._C._autograd._profiler_enabled():
        raise UsageError(
            "host memory cannot be measured while torch.profiler runs, because both need PyTorch's one memory report: "
            "stop the profiler first"
        )
    with HostMemory() as memory:
        fn()
        return MemoryReading(memory.peak, memory.allocated, memory.allocations)


def _cuda_peak(fn: Callable[[], object], device: torch.device | str, cuda: Any = None) -> MemoryReading:
    if cuda is None:
        import torch

        cuda = torch.cuda
    cuda.synchronize(device)
    cuda.reset_peak_memory_stats(device)
    before = cuda.memory_stats(device)
    base = cuda.memory_allocated(device)
    fn()
    cuda.synchronize(device)
    after = cuda.memory_stats(device)
    return MemoryReading(
        peak=cuda.max_memory_allocated(device) - base,
        allocated=after["allocated_bytes.all.allocated"] - before["allocated_bytes.all.allocated"],
        allocations=after["allocation.all.allocated"] - before["allocation.all.allocated"],
        base=base,
    )


def resident_bytes(module: torch.nn.Module | None, inputs: object = ()) -> int:
    """Bytes of the storages behind a module's parameters and buffers and behind the inputs, each storage once.

    Tied parameters and views of one storage count once, and a view counts its whole storage, since that is what stays
    allocated. `inputs` may nest tensors in mappings, sequences and dataclasses. Gradients are not resident: they are
    allocated by a step. Meta tensors occupy nothing. Raises UsageError for a sparse tensor.
    """
    own = [] if module is None else [*module.parameters(), *module.buffers()]
    sizes: dict[tuple[str, int], int] = {}
    for tensor in (*own, *tensors_in(inputs)):
        if tensor.is_meta:
            continue
        storage = _storage(tensor)
        place = (str(storage.device), storage.data_ptr())
        sizes[place] = max(storage.nbytes(), sizes.get(place, 0))
    return sum(sizes.values())


def tensors_in(tree: object) -> Iterator[torch.Tensor]:
    """All tensors in nested mappings, sequences and dataclasses; whatever else is in there is passed over."""
    import torch

    if isinstance(tree, torch.Tensor):
        yield tree
        return
    children: Iterable[object] = ()
    if isinstance(tree, Mapping):
        children = tree.values()
    elif isinstance(tree, (list, tuple, set, frozenset)):
        children = tree
    elif dataclasses.is_dataclass(tree):
        children = [getattr(tree, field.name) for field in dataclasses.fields(tree)]
    for child in children:
        yield from tensors_in(child)


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    import torch

    if tensor.layout is not torch.strided:
        raise UsageError(f"the bytes of a tensor with layout {tensor.layout} cannot be counted: make it dense first")
    return tensor.untyped_storage()

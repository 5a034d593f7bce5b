"""What a forward keeps for its backward, while it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from pyprof.device.weights import stored


class _Kept:
    """One saved tensor, in the graph's hands: when the graph lets go of it, so does the account."""

    def __init__(self, tensor: Tensor, account: SavedTensors) -> None:
        self.tensor = tensor
        self._account = account

    def __del__(self) -> None:
        self._account.release(self.tensor)


class SavedTensors:
    """Counts the storages that autograd keeps, each once, but for those that are there before: weights, inputs.

    `now` are the bytes that are kept at the moment, `most` the most that were; `changed` is called before each change.
    Use `hooks()` as a context around the step.
    """

    def __init__(self, before: Iterable[Tensor], changed: Callable[[], None] = lambda: None) -> None:
        self._not = {_key(part) for tensor in before for part in _strided(tensor)}
        self._holders: dict[StorageWeakRef, int] = {}
        self._changed = changed
        self.now = self.most = self.tensors = 0

    def hooks(self) -> saved_tensors_hooks:
        """Hooks that keep account of every tensor that autograd saves on this thread."""
        return saved_tensors_hooks(self._pack, self._unpack)

    def _pack(self, tensor: Tensor) -> Any:
        # Without its history: an output that held its own node would keep itself alive.
        bare = tensor.detach()
        for part in _strided(bare):
            key = _key(part)
            if key in self._not:
                continue
            if not self._holders.get(key):
                self._changed()
                self.now += part.untyped_storage().nbytes()
                self.most = max(self.most, self.now)
                self.tensors += 1
            self._holders[key] = self._holders.get(key, 0) + 1
        return _Kept(bare, self)

    def _unpack(self, kept: _Kept) -> Tensor:
        return kept.tensor

    def release(self, tensor: Tensor) -> None:
        """Take one holder of a tensor's storages out of the account."""
        for part in _strided(tensor):
            key = _key(part)
            if key in self._holders:
                self._holders[key] -= 1
                if not self._holders[key]:
                    self._changed()
                    self.now -= part.untyped_storage().nbytes()
                    del self._holders[key]


def _strided(tensor: Tensor) -> list[Tensor]:
    return [part for part in stored(tensor) if part.device.type != "meta"]


def _key(tensor: Tensor) -> StorageWeakRef:
    """A storage by itself: while it is referred to, no other one has its number."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]

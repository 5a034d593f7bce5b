"""Communication between processes while it is watched: collectives, and waits for them, as calls of their own.

PyTorch's collectives begin in methods of a process group or in operators of ``torch.ops._c10d_functional`` (DTensor's
are all of that kind), and end in a wait, for the work or for the tensor. All of these are looked up when they are
called, so they are replaced for as long as somebody watches; a step that nobody looks at meets none of it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from pyprof.layers.attachment import Attachment
from pyprof.layers.kinds import COMMUNICATION
from pyprof.layers.profile import LayerFacts
from pyprof.layers.recorder import Recorder
from pyprof.layers.uncalled import WATCHED

# What a layer's communication is called, below the layer that communicates.
_NAME = "communication"
# Methods of a process group, in several versions of PyTorch.
_GROUP = (
    *("allreduce", "allreduce_coalesced", "reduce", "broadcast", "barrier", "send", "recv", "recv_anysource"),
    *("allgather", "allgather_coalesced", "_allgather_base", "allgather_into_tensor_coalesced"),
    *("all_gather_single", "all_gather_single_coalesced", "gather", "scatter"),
    *("reduce_scatter", "_reduce_scatter_base", "reduce_scatter_tensor_coalesced"),
    *("reduce_scatter_single", "reduce_scatter_single_coalesced"),
    *("alltoall", "alltoall_base", "all_to_all_single"),
)
_WORK = ("wait", "synchronize")
_OPERATORS = (
    *("all_reduce", "all_reduce_", "all_reduce_coalesced", "all_reduce_coalesced_", "broadcast", "broadcast_"),
    *("all_gather_into_tensor", "all_gather_into_tensor_out", "all_gather_into_tensor_coalesced"),
    *("reduce_scatter_tensor", "reduce_scatter_tensor_out", "reduce_scatter_tensor_coalesced"),
    *("all_to_all_single", "isend", "irecv", "batch_p2p_ops", "wait_tensor"),
)


def communicating() -> bool:
    """Whether this process is one of several that talk to one another through torch.distributed."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


class Watcher(Protocol):
    """What is told of every piece of communication."""

    def begin(self) -> Any:
        """Something begins on this thread; what is returned is given to `end`."""
        ...

    def end(self, opened: Any) -> None:
        """It has ended."""
        ...


class _Here(threading.local):
    """Whether communication goes on in a thread: what it calls in turn is a part of it."""

    busy = False


_here = _Here()
_watchers: list[Watcher] = []
_replaced: list[tuple[Any, str, Any]] = []


def _watched(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if _here.busy:
            return original(*args, **kwargs)
        _here.busy = True
        told = [(watcher, watcher.begin()) for watcher in _watchers]
        try:
            return original(*args, **kwargs)
        finally:
            for watcher, opened in reversed(told):
                watcher.end(opened)
            _here.busy = False

    return call


class _WatchedOperator:
    """Stands where an operator is looked up; its overloads are those of the operator."""

    def __init__(self, operator: Any) -> None:
        self._operator = operator
        self._call = _watched(operator)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operator, name)


def _watch(watcher: Watcher) -> None:
    _watchers.append(watcher)
    if _replaced:
        return
    import torch
    from torch import distributed

    for owner, names in ((distributed.ProcessGroup, _GROUP), (distributed.Work, _WORK)):
        for name in names:
            if name in vars(owner):
                # As the class holds it: a method of C++ that is looked up on its class can no longer be bound.
                _replaced.append((owner, name, vars(owner)[name]))
                setattr(owner, name, _watched(getattr(owner, name)))
    operators = torch.ops._c10d_functional
    for name in _OPERATORS:
        operator = getattr(operators, name, None)
        if operator is not None:
            _replaced.append((operators, name, operator))
            setattr(operators, name, _WatchedOperator(operator))


def _unwatch(watcher: Watcher) -> None:
    if watcher not in _watchers:
        return
    _watchers.remove(watcher)
    while _replaced and not _watchers:
        setattr(*_replaced.pop())


class CommunicationClock:
    """Adds up the nanoseconds of communication in this process while its context is entered."""

    def __init__(self) -> None:
        self.nanoseconds = 0

    def begin(self) -> int:
        return time.perf_counter_ns()

    def end(self, opened: int) -> None:
        self.nanoseconds += time.perf_counter_ns() - opened

    def __enter__(self) -> CommunicationClock:
        _watch(self)
        return self

    def __exit__(self, *_: object) -> None:
        _unwatch(self)


class CommunicationProbe(Attachment):
    """Records communication as calls of `number`, which stands for no module."""

    def __init__(self, recorder: Recorder, number: int) -> None:
        self._recorder, self._number = recorder, number

    def begin(self) -> Any:
        return self._recorder.begin(self._number)

    def end(self, opened: Any) -> None:
        self._recorder.end(opened)

    def put(self) -> None:
        _watch(self)

    def take_off(self) -> None:
        _unwatch(self)


def communication_paths(paths: Sequence[str]) -> list[str]:
    """What the communication of each layer is called."""
    return [f"{path}.{_NAME}" if path else _NAME for path in paths]


def with_communication(facts: Sequence[LayerFacts], number: int) -> list[LayerFacts]:
    """The facts of all layers, each followed by those of its communication."""
    made: list[LayerFacts] = []
    for fact, path in zip(facts, communication_paths([fact.path for fact in facts]), strict=True):
        parent = None if fact.parent is None else 2 * fact.parent
        made.append(replace(fact, parent=parent))
        made.append(LayerFacts(path, "Collective", COMMUNICATION, len(made) - 1, 0, WATCHED, number))
    return made

"""Pickled files read as data: no class that a file names is imported, and nothing that it names is called.

A pickle is a program whose dangerous instructions all go through one door: the class or function that it asks for by
name. Behind that door there is nothing here but the makers of plain tensors, OrderedDict, and `Inert`, which writes
down what it is given. So a file can say whatever it likes, and what it says is data.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

_PLAIN = (str, bytes, int, float, bool, complex, type(None), Tensor)


class Inert:
    """An object of a class that was not imported: the class's name, and all that the file says of the object."""

    origin: ClassVar[str] = ""
    args: tuple[Any, ...]
    entries: list[Any]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> Inert:
        made = object.__new__(cls)
        made.args, made.entries, made.state = args, [], None
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries.append((key, value))

    def append(self, value: Any) -> None:
        self.entries.append(value)

    def extend(self, values: Iterable[Any]) -> None:
        self.entries.extend(values)

    def __repr__(self) -> str:
        return f"<{self.origin}, not imported>"


class _Maker:
    """One of the few functions that a file may have called; a file cannot change it, which pickle would allow."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, _: Any) -> None:
        raise pickle.UnpicklingError("the file tries to change the function that makes its tensors")


def _tensor(holder: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor on a storage that torch has read; its last element has to lie inside."""
    if not isinstance(holder, torch.storage.TypedStorage):
        raise pickle.UnpicklingError(f"a tensor of the file has no storage but {type(holder).__name__}")
    storage, dtype = holder._untyped_storage, holder.dtype
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and (last + 1) * dtype.itemsize > storage.nbytes()):
        raise pickle.UnpicklingError("a tensor of the file reaches beyond its storage")
    return torch.empty(0, dtype=dtype).set_(storage, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": _Maker(_tensor),
    "torch._utils._rebuild_tensor_v2": _Maker(_tensor),
    "torch._utils._rebuild_parameter": _Maker(_parameter),
}


def load_inert(path: Path, **options: Any) -> tuple[Any, tuple[str, ...]]:
    """The content of a file of torch.save, and the names of everything that was not imported, in order.

    `options` go to torch.load. Raises what torch.load and pickle raise for a file that cannot be read so. The file must
    not be a TorchScript archive, for which torch.load has another way of reading.
    """
    stubs: dict[str, type[Inert]] = {}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            origin = f"{module}.{name}"
            if origin in _KNOWN:
                return _KNOWN[origin]
            if origin not in stubs:
                stubs[origin] = type("Inert", (Inert,), {"origin": origin})
            return stubs[origin]

    def load(file: Any, **more: Any) -> Any:
        return Unpickler(file, **more).load()

    # torch.load reads the archive, hands over the storages and leaves every name that is no storage's to the unpickler.
    reader = SimpleNamespace(Unpickler=Unpickler, load=load, __name__="inert")
    content = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False, **options)
    return content, tuple(sorted(stubs))


def plain(value: Any) -> Any:
    """Settings as dicts, lists and plain values.

    Namespaces and dataclasses become dicts, omegaconf's containers what they contain (interpolations stay the strings
    they are), enumerations their values; an inert object of any other kind stays.
    """
    if isinstance(value, _PLAIN):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Mapping) and not hasattr(value, "_content"):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    state = value.state if isinstance(value, Inert) else getattr(value, "__dict__", None)
    if isinstance(state, Mapping):
        for inner in ("_content", "_val"):
            if inner in state:
                return plain(state[inner])
        return {str(key): plain(item) for key, item in state.items()}
    if isinstance(value, Inert) and len(value.args) == 1 and not value.entries:
        # A member of an enumeration is pickled as its class, called with the member's value.
        return plain(value.args[0])
    return value

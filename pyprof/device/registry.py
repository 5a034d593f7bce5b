"""Devices by name: "cpu", "cuda:1", and those that others have registered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyprof.device.base import Device
from pyprof.device.cuda import CudaDevice
from pyprof.device.host import HostDevice
from pyprof.errors import UsageError
from pyprof.names import nearest

if TYPE_CHECKING:
    from torch import nn

# Makes the device of a full name, number included; raises UsageError for a number that makes no sense.
Factory = Callable[[str], Device]

# What a study says where the machine is to choose.
AUTO = "auto"
_KIND = re.compile(r"[a-z][a-z0-9_]*")
_NAME = re.compile(rf"({_KIND.pattern})(:\d+)?")
_factories: dict[str, Factory] = {"cpu": HostDevice, "cuda": CudaDevice}


def of(name: str) -> Device:
    """The device of a name, whether or not it is there; raises UsageError for a kind that nobody knows."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _factories:
        correction = nearest(name, _factories, otherwise="choose one of these")
        raise UsageError(f"there is no device {name!r} among {', '.join(_factories)}: {correction}")
    return _factories[match[1]](name)


def usable(name: str) -> Device:
    """The device of a name, which has to be there; raises UsageError with the reason where it is not."""
    device = of(name)
    reason = device.available()
    if reason is not None:
        raise UsageError(reason)
    return device


def automatic() -> Device:
    """The device that `auto` stands for: the current CUDA device, or the host where there is none."""
    card = CudaDevice()
    return card if card.available() is None else HostDevice()


def of_module(module: nn.Module) -> Device:
    """The device that a module's calls run on: the first that a parameter or buffer beside the host's memory lies on.

    PyTorch's own names are looked up, so a device that keeps its tensors under another one's name is taken for that
    one; a kind that nobody has registered is taken for the host.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device.type != "cpu" and tensor.device.type in _factories:
            return of(str(tensor.device))
    return HostDevice()


def register(kind: str, factory: Factory) -> None:
    """Make a device known in this process: `kind`, or `kind`:N, is its name, and `factory` makes it from that name.

    A study measures on it with the executor that works in this process (``--in-process``), since a measuring process of
    its own would not know it. Raises UsageError for a kind that is taken, or that is no lower-case word.
    """
    if not _KIND.fullmatch(kind):
        raise UsageError(f"a kind of device is a lower-case word, not {kind!r}")
    if kind == AUTO or kind in _factories:
        raise UsageError(f"there is a device {kind!r} already: choose another name")
    _factories[kind] = factory


def unregister(kind: str) -> None:
    """Forget a kind that was registered; nothing where it is not known."""
    _factories.pop(kind, None)

"""Devices by name, and what each can tell or do: time, memory, layer times, throttling. One file a device.

``pyprof.device.of("cuda:1")`` is a device; ``pyprof.device.register`` makes another kind known. Loads neither torch nor
native code.
"""

from pyprof.device.base import Device, LayerTimes, Occupation, WorkLog
from pyprof.device.memory import MemoryBudget, MemoryReading
from pyprof.device.registry import AUTO, automatic, of, of_module, register, unregister, usable

__all__ = [
    "AUTO",
    "Device",
    "LayerTimes",
    "MemoryBudget",
    "MemoryReading",
    "Occupation",
    "WorkLog",
    "automatic",
    "of",
    "of_module",
    "register",
    "unregister",
    "usable",
]

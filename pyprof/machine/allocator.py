"""Which allocator hands out the host's memory: the C library's as it is, told to keep what it was given, or another.

The C library maps every large block afresh and unmaps it when it is freed, so that a step of large temporaries faults
in all their pages each time. An allocator is fixed when a process starts: these are the variables to start one with.
"""

from __future__ import annotations

import ctypes.util
import os
from collections.abc import Mapping
from pathlib import Path

from pyprof.errors import UsageError
from pyprof.records.case import ALLOCATORS

# By this variable a measuring process knows which allocator it was started with, and what was set before.
VARIABLE, BEFORE = "PYPROF_ALLOCATOR", "PYPROF_ALLOCATOR_BEFORE"
# No block is mapped by itself, no memory is given back below 16 GiB at the top, and the heap grows by 256 MiB.
_KEEP = {
    "glibc.malloc.mmap_threshold": 4294967295,
    "glibc.malloc.trim_threshold": 17179869184,
    "glibc.malloc.top_pad": 268435456,
}
_PRELOADED = {"jemalloc": ("jemalloc",), "tcmalloc": ("tcmalloc_minimal", "tcmalloc")}
_PACKAGES = {"jemalloc": "libjemalloc2", "tcmalloc": "libtcmalloc-minimal4"}
_KNOWN = ("jemalloc", "tcmalloc", "mimalloc")
# What else decides how these allocators work.
_SETTINGS = ("MALLOC_CONF", "MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
_TUNABLES, _PRELOAD = "GLIBC_TUNABLES", "LD_PRELOAD"


def variables(name: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables to start a process with, so that it has the allocator of that name; what the user set stays.

    Raises UsageError where this system has no such allocator.
    """
    marks = {VARIABLE: name, BEFORE: described(environ) or ""}
    if name == "default":
        return marks
    if name == "keep":
        _need_glibc()
        own = [part for part in environ.get(_TUNABLES, "").split(":") if part and part.partition("=")[0] not in _KEEP]
        return {**marks, _TUNABLES: ":".join([*own, *(f"{tunable}={value}" for tunable, value in _KEEP.items())])}
    if name not in _PRELOADED:
        raise UsageError(f"there is no allocator {name!r}: choose from {', '.join(ALLOCATORS)}")
    library = next(filter(None, map(ctypes.util.find_library, _PRELOADED[name])), None)
    if library is None:
        raise UsageError(
            f"the allocator {name} is not installed: install it (on Debian: apt-get install {_PACKAGES[name]}), or "
            "choose keep or default"
        )
    return {**marks, _PRELOAD: " ".join([library, *environ.get(_PRELOAD, "").split()])}


def current(environ: Mapping[str, str] = os.environ) -> str:
    """The name of the allocator that this process was started with by pyprof; default where it was not."""
    return environ.get(VARIABLE, "default")


def check(maps: Path = Path("/proc/self/maps")) -> None:
    """Raise UsageError where this process was started with a preloaded allocator that did not load."""
    name = current()
    if name in _PRELOADED and not _loaded(maps) & {name}:
        raise UsageError(f"the allocator {name} could not be loaded into the measuring process: choose another one")


def described(environ: Mapping[str, str] = os.environ, maps: Path = Path("/proc/self/maps")) -> str | None:
    """What a user has set of the allocator: preloaded ones and settings; None for the C library's as it is.

    In a process that pyprof started with another one it is what was set before.
    """
    if BEFORE in environ:
        return environ[BEFORE] or None
    tunables = [part for part in environ.get(_TUNABLES, "").split(":") if part.startswith("glibc.malloc.")]
    settings = [f"{name}={environ[name]}" for name in _SETTINGS if environ.get(name)]
    return ", ".join([*sorted(_loaded(maps)), *sorted(tunables), *settings]) or None


def _loaded(maps: Path) -> set[str]:
    """The known allocators whose libraries are mapped into this process."""
    try:
        text = maps.read_text()
    except OSError:
        return set()
    return {name for name in _KNOWN if f"lib{name}" in text}


def _need_glibc() -> None:
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError):
        version = None
    if not version:
        raise UsageError("memory can be kept by GNU's C library only, which this system has not: choose default")

"""Ranges of the NVTX domain `pyprof`, for Nsight Systems and other tools that look on while a program runs.

They are opened by the native recorder (csrc/nvtx), at the moments of its stamps. Nothing is opened unless it is asked
for, and nothing either where no tool is attached.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyprof.errors import UsageError
from pyprof.layers.attachment import Attachment

if TYPE_CHECKING:
    from pyprof import _native

VARIABLE = "PYPROF_NVTX"


def wanted(asked: bool | None) -> bool:
    """Whether ranges are to be opened: as asked, or else as the environment variable PYPROF_NVTX says (1 or 0).

    Raises UsageError for another value of it, and where ranges are wanted and pyprof was built without NVTX.
    """
    if asked is None:
        value = os.environ.get(VARIABLE, "0")
        if value not in ("", "0", "1"):
            raise UsageError(f"{VARIABLE} is {value!r}: set it to 1 or 0")
        asked = value == "1"
    if asked:
        from pyprof import _native

        if not _native.has_nvtx:
            raise UsageError(
                "pyprof was built without NVTX's headers: install nvidia-nvtx beside torch, and build pyprof again"
            )
    return asked


def layer_ranges(paths: Sequence[str], modules: Sequence[int], root: str) -> _native.LayerRanges:
    """What a recorder opens its ranges by.

    The range of a layer has its path as its name, `root` where that is empty, and the path's index as its payload;
    `modules[i]` is the number by which the recorder knows the module at `paths[i]`.
    """
    from pyprof import _native

    return _native.LayerRanges(list(paths), list(modules), root)


class OptimizerRanges(Attachment):
    """A range for every step of an optimizer while it is in place."""

    def __init__(self) -> None:
        self._open: list[_native.OptimizerRanges] = []

    def put(self) -> None:
        from pyprof import _native

        self._open.append(_native.OptimizerRanges())

    def take_off(self) -> None:
        self._open.clear()


@contextmanager
def case_range(name: str, asked: bool | None = None) -> Iterator[None]:
    """A range of the category `case` around what is measured together; raises as `wanted` does."""
    if not wanted(asked):
        yield
        return
    from pyprof import _native

    _native.push_case(name)
    try:
        yield
    finally:
        _native.pop_case()

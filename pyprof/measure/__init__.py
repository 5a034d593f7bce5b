"""Measuring: time, memory, the largest batch, and how sure a figure is.

`pyprof.measure` is this package and the function `pyprof.measure(fn)` at once, since Python binds a subpackage to that
name as soon as anything below it is imported. Calling the package calls `pyprof.measure.sampling.measure`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from pyprof.measure.sampling import measure

        return measure(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage

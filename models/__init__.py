"""The models that pyprof measures, and what gives other models a window; each name loads what it needs at first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyprof.models.l_hubert import from_hubert
    from pyprof.models.use_window import use_window_attention

__all__ = ["from_hubert", "use_window_attention"]

_HOMES = {"from_hubert": "pyprof.models.l_hubert", "use_window_attention": "pyprof.models.use_window"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pyprof.models' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

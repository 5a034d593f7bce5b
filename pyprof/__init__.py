"""Where a transformer's time goes, and from which input length an efficient variant pays off.

Importing this loads neither torch nor transformers: each name loads what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pyprof.built import refuse_mismatch

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pyprof.layers.instrument import instrument
    from pyprof.layers.steps import profile
    from pyprof.ops.choices import window_attention_choice
    from pyprof.ops.window_attention import window_attention
    from pyprof.records.run_directory import read as read_run
    from pyprof.timing.compare import compare
    from pyprof.timing.sampling import measure
    from pyprof.traces.export import write_trace

__all__ = [
    "__version__",
    "compare",
    "instrument",
    "measure",
    "profile",
    "read_run",
    "window_attention",
    "window_attention_choice",
    "write_trace",
]

_HOMES = {
    "compare": "pyprof.timing.compare",
    "instrument": "pyprof.layers.instrument",
    "measure": "pyprof.timing.sampling",
    "profile": "pyprof.layers.steps",
    "read_run": "pyprof.records.run_directory:read",
    "window_attention": "pyprof.ops.window_attention",
    "window_attention_choice": "pyprof.ops.choices",
    "write_trace": "pyprof.traces.export",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pyprof' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)


refuse_mismatch()

"""All tools by name, and which of them are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from pyprof.errors import UsageError
from pyprof.failures import Failure
from pyprof.names import nearest
from pyprof.overhead.hooks import HOOKS, RECORD_FUNCTION
from pyprof.overhead.peers import DEEPSPEED, TORCHPROF
from pyprof.overhead.probes import PYPROF
from pyprof.overhead.tool import Tool
from pyprof.overhead.torch_profiler import TORCH_PROFILER

TOOLS = (PYPROF, HOOKS, RECORD_FUNCTION, TORCH_PROFILER, DEEPSPEED, TORCHPROF)
# What a tool is called on a command line, where a space needs quotes.
_SHORT = {"hooks": HOOKS.name}


def find(names: Sequence[str]) -> tuple[Tool, ...]:
    """The tools of these names in the order of TOOLS, all of them for no names; raises UsageError with a suggestion."""
    known = {tool.name.lower(): tool.name for tool in TOOLS} | _SHORT
    wanted = set()
    for name in names:
        if name.lower() not in known:
            raise UsageError(f"there is no tool {name!r}: {nearest(name, known)}")
        wanted.add(known[name.lower()])
    return tuple(tool for tool in TOOLS if not wanted or tool.name in wanted)


def missing(tool: Tool) -> Failure | None:
    """Why a tool cannot be used here, None where it can."""
    if tool.package is None or importlib.util.find_spec(tool.package) is not None:
        return None
    return Failure("skipped", f"not installed: {tool.install}")

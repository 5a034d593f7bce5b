"""Calls into code that is not pyprof's, whose failures become one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pyprof.errors import UsageError


def cause(error: BaseException) -> str:
    """What went wrong in one line: the exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def guarded(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call foreign code; whatever it raises becomes a UsageError, but running out of memory stays what it is."""
    try:
        return function(*args, **kwargs)
    except (MemoryError, torch.OutOfMemoryError, UsageError):
        raise
    except Exception as error:
        raise UsageError(f"{what}: {cause(error)}") from error

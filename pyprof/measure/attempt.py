"""Calls into implementations, whose failures become a status and a reason instead of the end of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from pyprof.errors import UsageError
from pyprof.measure.memory import is_out_of_memory

Result = TypeVar("Result")
Status = Literal["ok", "oom", "error", "skipped"]


@dataclass(frozen=True)
class Failure:
    """Why there is no figure: skipped (the implementation cannot do this), oom, or error; `reason` is one sentence."""

    status: Status
    reason: str


def attempt(function: Callable[[], Result]) -> Result | Failure:
    """The result of a call into code that may raise anything, such as a user's kernel; or how it failed.

    An interruption by the user passes through.
    """
    try:
        return function()
    except Exception as error:  # a user's kernel and a compiler may raise anything, and the others are still to measure
        return _failure(error)


def _failure(error: Exception) -> Failure:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    if is_out_of_memory(error):
        return Failure("oom", f"out of memory: {said}")
    if isinstance(error, UsageError | NotImplementedError):
        return Failure("skipped", said)
    return Failure("error", f"{type(error).__name__}: {said}")

"""What became of a piece of work: its status, and an exception as one sentence. Loads no torch."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pyprof.errors import ModelError, PyprofError, UsageError
from pyprof.plain import printable, shown

Result = TypeVar("Result")
Status = Literal["ok", "oom", "timeout", "error", "skipped"]
STATUSES: tuple[Status, ...] = ("ok", "oom", "timeout", "error", "skipped")
# How the reason of a case begins that was skipped because the answer is known without it.
NOT_NEEDED = "not needed"
# What the reason of a case holds that was skipped because the time was up, and what reports call that.
TIME_IS_UP, NO_TIME = "left of the budget of", "no time"

# How allocators say that memory ran out, in lower case: PyTorch's on the host and on devices, C++'s, the system's.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
)
_LONGEST = 300


@dataclass(frozen=True)
class Failure:
    """Why there is no figure: skipped (the implementation cannot do this), oom, or error; `reason` is one sentence."""

    status: Status
    reason: str


def sentence(error: BaseException) -> str:
    """An exception in one line, its type first: what libraries raise may go on for many."""
    said = _first_line(error)
    if isinstance(error, SystemExit):
        return f"sys.exit({said}) was called"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def says_out_of_memory(text: str) -> bool:
    """Whether a message says that memory ran out."""
    lower = text.lower()
    return any(sign in lower for sign in _OUT_OF_MEMORY)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on a device."""
    # torch.OutOfMemoryError is a RuntimeError; by its name it is known even without a message.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and says_out_of_memory(str(error))


# What the system says where there is no room, or no working disk, for what is written.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def is_full(error: OSError) -> bool:
    """Whether a file could not be written because there is no room for it."""
    return error.errno in _FULL


def said_of_file(error: OSError) -> str:
    """What the system has against a file, in one sentence; a name of a thousand letters is shortened."""
    named = [shown(str(name)) for name in (error.filename, error.filename2) if name is not None]
    what = " and ".join(named) or "a file"
    return (
        f"{what} cannot be used ({error.strerror or sentence(error)}): {'make room' if is_full(error) else 'check it'}"
    )


def failure_of(error: BaseException, unable: Status = "error") -> Failure:
    """The status and the reason of an exception; `unable` is that of what says in its own words that it cannot."""
    if is_out_of_memory(error):
        return Failure("oom", f"out of memory: {_first_line(error) or type(error).__name__}")
    if isinstance(error, PyprofError):
        return Failure(unable if isinstance(error, UsageError) else "error", str(error))
    if isinstance(error, NotImplementedError) and unable != "error":
        return Failure(unable, _first_line(error) or type(error).__name__)
    return Failure("error", sentence(error))


# What foreign code may raise on its own account. An interruption is the user's.
FOREIGN = (Exception, SystemExit)


def attempt(function: Callable[[], Result]) -> Result | Failure:
    """The result of a call into code that may raise anything, such as a user's kernel; or how it failed.

    An interruption by the user passes through; `sys.exit` does not, as the program is not that code's to end.
    """
    try:
        return function()
    except FOREIGN as error:  # a user's kernel and a compiler may raise anything, and the others are still to measure
        return failure_of(error, unable="skipped")


def guarded(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call foreign code; whatever it raises becomes a UsageError, but running out of memory stays what it is."""
    with blamed(what, UsageError, memory_too=False):
        return function(*args, **kwargs)


@contextmanager
def blamed(what: str, error_type: type[PyprofError] = ModelError, *, memory_too: bool = True) -> Iterator[None]:
    """Foreign code: whatever it raises becomes a PyprofError of one sentence that begins with `what`.

    Running out of memory stays what it is unless `memory_too`; a PyprofError and an interruption always do.
    """
    try:
        yield
    except PyprofError:
        raise
    except FOREIGN as error:
        if is_out_of_memory(error) and not memory_too:
            raise
        raise error_type(f"{what}: {failure_of(error).reason}") from error


def _first_line(error: BaseException) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return printable(next((line for line in lines if line), "")[:_LONGEST])

"""One line on standard error that shows what is going on, in a terminal only, and gives way to what comes next."""

from __future__ import annotations

import sys

from pyprof.plain import printable

# Return to the beginning of the line and clear it.
_ERASE = "\r\x1b[K"


def is_terminal() -> bool:
    """Whether standard error is a terminal, where a line can be replaced."""
    return sys.stderr.isatty()


def show(text: str) -> None:
    """Put a text into the live line; does nothing elsewhere than in a terminal."""
    if is_terminal():
        print(f"{_ERASE}{printable(text)} ...", end="", file=sys.stderr, flush=True)


def line(text: str) -> None:
    """A line that stays, in a terminal and elsewhere."""
    print(printable(text), file=sys.stderr, flush=True)


def clear() -> None:
    """Clear the live line before something else is printed."""
    if is_terminal():
        print(_ERASE, end="", file=sys.stderr, flush=True)

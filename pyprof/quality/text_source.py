"""Where the bytes of language modelling come from: a file or a directory of the user's, or Python's own manual."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pyprof.errors import UsageError
from pyprof.failures import said_of_file

BUILT_IN = "topics of the Python manual"


def text_bytes(path: Path | None) -> bytes:
    """The bytes of a file, or of all ``*.txt`` of a directory and below, in the order of their names.

    Files are joined by a line end. None stands for the built-in text. Raises UsageError where there is nothing to read.
    """
    if path is None:
        return built_in_text()
    try:
        if path.is_file():
            return path.read_bytes()
        files = sorted(each for each in path.rglob("*.txt") if each.is_file())
        if not files:
            raise UsageError(f"there is no text in {str(path)!r}: name a file, or a directory that holds *.txt files")
        return b"\n".join(each.read_bytes() for each in files)
    except OSError as error:
        raise UsageError(said_of_file(error)) from error


@cache
def built_in_text() -> bytes:
    """The topics of Python's `help()`: some 450,000 bytes of English that come with every CPython of a full install.

    They differ a little between versions of Python. Raises UsageError where they are not installed.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UsageError(
            "the built-in text, Python's own manual, is not installed with this Python: name a text of yours by --data"
        ) from None
    return "\n\n".join(topics[name] for name in sorted(topics)).encode()

"""Standard output and standard error: what a command answers, what it says beside, and what a model prints meanwhile.

Whatever is at the other end (a pipe whose reader has left, a full disk, an encoding that lacks a letter), a command
goes on to its end and its exit code: what cannot be written is dropped, and `standard_streams` knows why.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from pyprof.plain import printable

_HANDLER = "pyprof"
# What stands for letters that reports use where an encoding lacks them; all else is written out, as in \u4e2d.
_PLAIN = {"µ": "u", "–": "-", "—": "-", "×": "x", "±": "+-", "→": "->", "…": "...", "≥": ">=", "≤": "<=", "·": "-"}


def say(message: object) -> None:
    """Say something to the user beside what the command answers: one line on standard error."""
    print(f"pyprof: {printable(str(message))}", file=sys.stderr, flush=True)


class Streams:
    """What became of standard output: `failure` is why it could not be written, None where it could.

    A reader of a pipe that has seen enough is no failure.
    """

    def __init__(self) -> None:
        self._descriptor: _Descriptor | None = None

    @property
    def failure(self) -> OSError | None:
        failure = None if self._descriptor is None else self._descriptor.failure
        return None if failure is None or failure.errno == errno.EPIPE else failure


@contextlib.contextmanager
def standard_streams() -> Iterator[Streams]:
    """Standard output and error that never raise while they are written to; both are flushed in the end."""
    _open_what_is_closed()
    streams, before = Streams(), (sys.stdout, sys.stderr)
    codecs.register_error(_HANDLER, _in_other_letters)
    try:
        if sys.stdout is sys.__stdout__:
            streams._descriptor = _Descriptor(1)
            sys.stdout = _text(streams._descriptor, sys.stdout)
        if sys.stderr is sys.__stderr__:
            sys.stderr = _text(_Descriptor(2), sys.stderr)
        with _own_letters(sys.stdout), _own_letters(sys.stderr):
            yield streams
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


class _Descriptor(io.FileIO):
    """An open file descriptor that takes everything: from the first failure on it drops what it is given."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        while self.failure is None:
            try:
                written = super().write(data)
            except OSError as error:
                self.failure = error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # a pipe that somebody has made non-blocking is full
        return len(data)


def _text(descriptor: _Descriptor, before: TextIO | None) -> TextIO:
    encoding = "utf-8" if before is None else before.encoding
    lines = descriptor.fileno() == 2 or descriptor.isatty()
    return io.TextIOWrapper(io.BufferedWriter(descriptor), encoding=encoding, errors=_HANDLER, line_buffering=lines)


@contextlib.contextmanager
def _own_letters(stream: TextIO) -> Iterator[None]:
    """Let a stream write letters that its encoding lacks in other ones."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors=_HANDLER)
    try:
        yield
    finally:
        stream.flush()
        stream.reconfigure(errors=errors)


def _in_other_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    escaped = (_PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return "".join(escaped), error.end


def _open_what_is_closed() -> None:
    """Keep descriptors 0 to 2 from becoming those of the next files that are opened, which would be written over."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


@contextlib.contextmanager
def models_print_to_standard_error() -> Iterator[None]:
    """Python's prints and what libraries and child processes write to file descriptor 1 alike."""
    with _descriptor_swapped(), contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _descriptor_swapped() -> Iterator[None]:
    _flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of them is closed, so that nothing can be written there
        yield
        return
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    """Write what is buffered, by Python and by C, to where the descriptor points now."""
    import ctypes  # not needed to show the help, which is to be quick

    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not stream.closed:
            stream.flush()
    ctypes.CDLL(None).fflush(None)

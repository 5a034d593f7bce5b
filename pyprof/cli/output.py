"""Standard output is the command's alone: what a model prints meanwhile goes to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


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

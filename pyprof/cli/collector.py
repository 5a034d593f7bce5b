"""Python's garbage collector, held off where much is read that lives until the command ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """No collection meanwhile: it would walk tens of thousands of objects again and again for nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

"""Writing a file in whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = ".partial"
# Names of files need not be text: the halves of surrogate pairs that Python makes of them are written as in JSON.
HALVES = "backslashreplace"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of one; raises OSError."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as stream:
            stream.write(content.encode("utf-8", HALVES) if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

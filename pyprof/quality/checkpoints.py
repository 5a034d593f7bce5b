"""Checkpoints of a training that a kill at any moment leaves usable; importing this loads no torch.

transformers writes a checkpoint file by file, so one that was being written when the process died looks like any other.
Here a checkpoint counts from the moment its marker is there, which is written last and in one piece, and for as long as
it is there: of those before, which are kept until then, it is removed first.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyprof.errors import UsageError
from pyprof.records.whole_file import write_whole

MARKER = "pyprof.json"
_PREFIX = "checkpoint-"


def mark(directory: Path, step: int, state: Mapping[str, Any]) -> None:
    """Make the checkpoint of a step count, and remove all others; `state` is plain JSON, which `newest` gives back."""
    own = directory / f"{_PREFIX}{step}"
    write_whole(own / MARKER, json.dumps(dict(state), allow_nan=False) + "\n")
    for path in filter(Path.is_dir, directory.glob(f"{_PREFIX}*")):
        if path != own:
            _remove(path)


def newest(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that counts and its state; those that do not count are removed."""
    whole = []
    for path in directory.glob(f"{_PREFIX}*"):
        number = path.name.removeprefix(_PREFIX)
        if (path / MARKER).is_file() and number.isdecimal():
            whole.append((int(number), path))
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
    if not whole:
        return None
    _, path = max(whole)
    return path, read_document(path / MARKER)


def remove(directory: Path) -> None:
    """Remove all checkpoints, which a finished training needs no more."""
    for path in filter(Path.is_dir, directory.glob(f"{_PREFIX}*")):
        _remove(path)


def _remove(path: Path) -> None:
    (path / MARKER).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises UsageError where it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON: remove its directory to train anew") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object: remove its directory to train anew")
    return found

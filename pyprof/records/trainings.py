"""Where a run keeps the trainings of its cases until they are done, so that a killed run goes on with them.

A folder for each case lies in the run directory. The measuring process is told of it by a variable of its environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from pyprof.records.record import Record

FOLDER = "trainings"
_VARIABLE = "PYPROF_TRAININGS"


def variables(directory: Path) -> dict[str, str]:
    """What the environment of a process says that measures for the run in that directory."""
    return {_VARIABLE: str(directory.resolve() / FOLDER)}


def place_of(case: str, indicator: str) -> Path | None:
    """Where a process keeps what it trains for an indicator of the case with that key; None where it keeps nothing."""
    folder = os.environ.get(_VARIABLE)
    return Path(folder) / case / indicator if folder else None


def forget(directory: Path, records: Iterable[Record]) -> None:
    """Remove the trainings of cases that are done; one that failed is tried again, and goes on."""
    folder = directory / FOLDER
    if not folder.is_dir():
        return
    for record in records:
        if record.status not in ("error", "skipped"):
            shutil.rmtree(folder / record.case.key, ignore_errors=True)
    # It stays as long as there are others.
    with contextlib.suppress(OSError):
        folder.rmdir()

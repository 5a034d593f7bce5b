"""A worker of another process or machine: it settles a study and measures tasks, from JSON to JSON."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pyprof.executors.serve import measure_task, place_of
from pyprof.records import study as studies
from pyprof.records.executor import Began, Lost, Measured, Ready, Task, Worker
from pyprof.records.place import Place

Message = dict[str, Any]
# Measures in a child process, so that nothing that a case does can end the worker.
LOCAL = "pyprof.worker.executors:WorkerExecutor"


class Remote:
    """A worker, made by what `name` says, "module:function".

    Factories of a study are found in `directory`, where the run was started, if this machine has it.
    """

    def __init__(self, name: str, directory: str) -> None:
        with contextlib.suppress(OSError):
            os.chdir(directory)
        module, _, function = name.partition(":")
        self._worker: Worker = getattr(importlib.import_module(module), function)()
        self._ready: Ready | None = None

    def start(self, table: Mapping[str, Any]) -> Message:
        """Settle a study; gives it back with environment and place. Raises UsageError where this machine cannot."""
        self._ready = self._worker.start(studies.parse(table, "the study"))
        environment = self._ready.environment.to_json()
        return {"study": self._ready.study.to_table(), "environment": environment, "place": self.place.to_json()}

    def settle(self, table: Mapping[str, Any]) -> None:
        """Measure by what another worker has settled; starts anew where that differs from what this one did."""
        study = studies.parse(table, "the study")
        if study != self.ready.study:
            self._worker.close()
            self._ready = self._worker.start(study)

    def began(self, task: Task) -> Began:
        """The report that a group begins now."""
        return Began(task.id, self.place, datetime.now(UTC).isoformat())

    def measure(self, task: Task) -> Measured | Lost:
        """Measure a group."""
        return measure_task(self._worker, self.ready, task, self.place)

    @property
    def ready(self) -> Ready:
        """What the worker said when it had started."""
        assert self._ready is not None, "start the worker first"
        return self._ready

    @property
    def place(self) -> Place:
        """The machine and the device of the worker."""
        return place_of(self.ready.environment)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the worker's environment."""
        return self.ready.environment.fingerprint

    def close(self) -> None:
        """Free everything."""
        self._worker.close()

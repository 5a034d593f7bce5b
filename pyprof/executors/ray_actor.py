"""What runs in an actor of Ray."""

from __future__ import annotations

from pyprof.errors import PyprofError
from pyprof.executors.remote import Message, Remote
from pyprof.records.executor import Task


class Actor:
    """A worker, asked by JSON. `worker` is what measures, "module:function"."""

    def __init__(self, worker: str, directory: str) -> None:
        self._remote = Remote(worker, directory)

    def start(self, study: Message) -> Message:
        """Settle a study, or say why this machine refuses."""
        try:
            return self._remote.start(study)
        except PyprofError as error:
            return {"refused": str(error)}

    def began(self, task: Message) -> Message:
        """Report that a group begins."""
        return self._remote.began(Task.from_json(task)).to_json()

    def measure(self, task: Message) -> Message:
        """Measure a group, and report it."""
        return self._remote.measure(Task.from_json(task)).to_json()

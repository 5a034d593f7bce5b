"""What a device does while layers are recorded: kept as flat tables, and added up when a profile is asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from pyprof import device as devices
from pyprof.errors import UsageError
from pyprof.layers.attachment import Attachment
from pyprof.layers.busy import NO_TIME
from pyprof.layers.device_work import (
    BACKWARD,
    GRAPH_NODE_DTYPE,
    LAUNCH_DTYPE,
    OPERATION_DTYPE,
    SECOND_ORDER,
    STEP_DTYPE,
    DeviceRecords,
    DeviceSums,
    add_up,
)
from pyprof.layers.sums import CALLS, CELLS
from pyprof.layers.trace import STEP

# More operations are added up and forgotten, but for those of the last step.
_KEPT_OPERATIONS, _KEPT_PARTS = 1 << 20, 1 << 10


class DeviceLog(Attachment):
    """Records the device's work while probes are in place.

    `reason` says why there is nothing, None where there is something: another profiler may have come first.
    `synchronize` waits for the device: work that still runs as the log ends would never get an end.
    """

    def __init__(self, log: devices.WorkLog, synchronize: Callable[[], object]) -> None:
        self._log = log
        self._synchronize = synchronize
        self._sums = DeviceSums.empty()
        self._parts: list[dict[str, Any]] = []
        self._nodes: list[npt.NDArray[np.void]] = []
        self._kept = 0
        self._latest: dict[str, Any] | None = None
        self.reason: str | None = None

    def put(self) -> None:
        """Begin to record; where that is not possible `reason` says why, and nothing is raised."""
        try:
            self._log.start()
        except UsageError as error:
            self.reason = str(error)

    def take_off(self) -> None:
        self._finish()
        self._log.stop()

    def pause(self) -> None:
        self._finish()
        self._log.pause()

    def _finish(self) -> None:
        with suppress(RuntimeError):  # where the device has failed, so that nothing more comes
            self._synchronize()

    def take(self, spans: npt.NDArray[np.void], threads: npt.NDArray[np.uint64]) -> None:
        """Take over what was recorded since the last call; `spans` and `threads` are the recorder's of the same time.

        The device has to have done its work. Raises UsageError where it has failed.
        """
        part = self._log.read()
        steps = spans[spans["layer"] == STEP]
        part["steps"] = np.empty(len(steps), STEP_DTYPE)
        part["steps"]["begin"], part["steps"]["end"] = steps["begin"], steps["end"]
        if len(part["nodes"]):
            self._nodes.append(part["nodes"])
        self._parts.append(part)
        self._kept += len(part["operations"])
        part["threads"] = threads
        had_steps = self._latest is not None and len(self._latest["steps"]) > 0
        if len(steps) or (len(part["operations"]) and not had_steps):
            self._latest = part

    @property
    def is_full(self) -> bool:
        """Whether it is time to `settle`."""
        return self._kept > _KEPT_OPERATIONS or len(self._parts) > _KEPT_PARTS

    def settle(self, sites: npt.NDArray[np.void], *, keep: int = 1) -> None:
        """Add up and forget all but the last parts; `sites` are the recorder's places."""
        parts, self._parts = self._parts[: len(self._parts) - keep], self._parts[len(self._parts) - keep :]
        if parts:
            self._sums.add(add_up(self._records(parts, sites)))
        self._kept = sum(len(part["operations"]) for part in self._parts)

    def sums(self, sites: npt.NDArray[np.void]) -> DeviceSums:
        """All that was recorded; `sites` are the recorder's places."""
        self.settle(sites, keep=0)
        return self._sums

    def latest(self, sites: npt.NDArray[np.void]) -> tuple[DeviceRecords, npt.NDArray[np.uint64]] | None:
        """What was recorded with the last marked step (or last of all, where none was), if anything was.

        `sites` are the recorder's places. The second is autograd's number of each thread that a launch names.
        """
        if self._latest is None:
            return None
        return self._records([self._latest], sites), self._latest["threads"]

    def _records(self, parts: list[dict[str, Any]], sites: npt.NDArray[np.void]) -> DeviceRecords:
        launches = np.concatenate([part["launches"] for part in parts])
        nodes = np.concatenate([*self._nodes, parts[-1]["nodes"][:0]])
        return DeviceRecords(
            np.concatenate([part["operations"] for part in parts]).astype(OPERATION_DTYPE),
            _placed(launches, LAUNCH_DTYPE, sites),
            _placed(nodes, GRAPH_NODE_DTYPE, sites),
            np.concatenate([part["steps"] for part in parts]),
            tuple(parts[-1]["names"]),
            sum(part["lost"] for part in parts),
            sum(part["lost_launches"] + part["lost_nodes"] for part in parts),
        )


def _placed(rows: npt.NDArray[np.void], dtype: np.dtype[np.void], sites: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Rows with the site and the phase that their cell of the call tree stands for."""
    placed = np.zeros(len(rows), dtype)
    for name in set(dtype.names or ()) & set(rows.dtype.names or ()):
        placed[name] = rows[name]
    if "end" in (dtype.names or ()):
        placed["end"] = NO_TIME
    site, column = np.divmod(rows["cell"].astype(np.int64), CELLS)
    placed["site"] = site
    # The cells of nodes come in pairs: of the first order and of the second, for each context.
    backward = np.where(column % 2 == 1, BACKWARD, SECOND_ORDER)
    placed["phase"] = np.where(column == CALLS, sites["phase"][site], backward)
    return placed

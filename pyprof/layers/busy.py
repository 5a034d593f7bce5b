"""When a device was busy: the stretches in which steps were marked, and what its work fills of them. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pyprof.layers.device_work import DeviceSums

NO_TIME: Final = -1

_Table = npt.NDArray[np.void]
_Integers = npt.NDArray[np.int64]


def windows_of(steps: _Table) -> list[tuple[int, int]]:
    """The stretches of time in which a step was marked; steps of several threads that overlap are one."""
    windows: list[tuple[int, int]] = []
    for begin, end in sorted((int(step["begin"]), int(step["end"])) for step in steps):
        if windows and begin < windows[-1][1]:
            windows[-1] = windows[-1][0], max(windows[-1][1], end)
        else:
            windows.append((begin, end))
    return windows


def window_of(windows: Sequence[tuple[int, int]], times: npt.NDArray[Any]) -> _Integers:
    """The window that each time lies in, -1 for none; one for all where there are no windows."""
    if not windows:
        return np.zeros(len(times), np.int64)
    begins, ends = (np.array(bounds) for bounds in zip(*windows, strict=True))
    found = np.searchsorted(begins, times, side="right") - 1
    return np.where((found >= 0) & (times < ends[found]), found, -1)


def add_busy(
    sums: DeviceSums,
    operations: _Table | Mapping[str, npt.NDArray[Any]],
    launched_at: _Integers,
    window: _Integers,
    windows: Sequence[tuple[int, int]],
) -> None:
    """How long each device was busy, idle, and idle without anything to do, in all windows together.

    Of operations their `begin`, `end` and `device` are looked at; `window` is the number of each one's window.

    A device's window reaches to the end of the work that was launched in it, and begins no earlier than the one before
    it has ended, where a step is not waited for.
    """
    devices = np.unique(operations["device"]).tolist()
    for device in devices:
        begins, ends, launched, numbers = operations["begin"], operations["end"], launched_at, window
        if len(devices) > 1:
            mine = operations["device"] == device
            begins, ends, launched, numbers = begins[mine], ends[mine], launched[mine], numbers[mine]
        in_order = ((numbers[1:] > numbers[:-1]) | ((numbers[1:] == numbers[:-1]) & (begins[1:] >= begins[:-1]))).all()
        if not in_order:
            order = np.lexsort((begins, numbers))
            begins, ends, launched, numbers = begins[order], ends[order], launched[order], numbers[order]
        bounds = np.searchsorted(numbers, np.arange(max(len(windows), 1) + 1)).tolist()
        free_from = np.iinfo(np.int64).min
        for number in range(max(len(windows), 1)):
            chosen = slice(bounds[number], bounds[number + 1])
            begin, end = begins[chosen], ends[chosen]
            if windows:
                first, last = windows[number]
            elif len(begin):
                first, last = int(begin.min()), int(end.max())
            else:
                continue
            first = max(first, free_from)
            last = max(last, int(end.max(initial=last)), first)
            free_from = last
            busy_until = np.maximum.accumulate(np.concatenate([[first], end]))
            begin = np.clip(begin, first, last)
            gaps = np.maximum(begin - busy_until[:-1], 0)
            # Nothing was queued until the call that launched what comes next; how it ends, nobody launches any more.
            waiting = (launched[chosen] != NO_TIME) & (launched[chosen] >= busy_until[:-1])
            tail = last - int(busy_until[-1])
            idle = int(gaps.sum()) + tail
            for total, value in (
                (sums.busy, last - first - idle),
                (sums.idle, idle),
                (sums.launch_bound, int(gaps[waiting].sum()) + tail),
            ):
                total[device] = total.get(device, 0) + value

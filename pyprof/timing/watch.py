"""What the machine did beside the measurement: counters of the system, read around every sample. Loads no torch.

A sample is marked where something took the processor away from it for more than `HIT_SHARE` of its time, so that marks
mean the same for microseconds and for minutes. A counter that a system doesn't have is None and costs nothing. No
counter shows a neighbour on the other hyperthread or a hypervisor that lowers the frequency: for these time a
yardstick beside the work.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pyprof.records.noise import HIT_SHARE, Hit, Noise, causes
from pyprof.timing.clock import Clock, MonotonicClock
from pyprof.timing.cores import ROOT, usable_cores
from pyprof.timing.threads import OtherThreads

# A thread that was preempted comes back after a slice of the scheduler at most, unless several wait: 3 ms on Linux.
_SLICE_NS = 3_000_000
# Slow counters (those of all cores, the frequency, a GPU) move in steps of 10 ms, and may cost this share of the time.
_LOOK_NS = 10_000_000
_LOOK_SHARE = 0.001
_MOST_FREQUENCIES = 8
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_RUSAGE_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)


class NoWatch:
    """A watch that sees nothing: for injected time, or where nobody wants to know."""

    waited_ns = 0

    def begin(self) -> None:
        """Nothing to note."""

    def end(self) -> int:
        """No flags."""
        return 0

    def noise(self) -> Noise:
        """That nothing was seen."""
        return Noise(0.0, 0)


@dataclass(frozen=True)
class _Ticks:
    """The first line of /proc/stat, in ticks of all cores together."""

    busy: int
    stolen: int
    every: int


class Watch:
    """Reads the counters around samples, in the thread that made it.

    `begin` and `end` cost a few microseconds each and lie outside of the timed call. `throttled` tells whether a device
    beside the processor is held back by heat or power now (``Device.throttled``), None where it doesn't tell. `root` is
    where /proc and /sys are looked for. The descriptors are closed by `close`, by leaving a `with`, or with the watch
    itself.

    `waited_ns` is how long this thread stood runnable in the run queue during the last sample; 0 where that isn't told.
    """

    def __init__(
        self, throttled: Callable[[], bool | None] | None = None, clock: Clock | None = None, root: Path = ROOT
    ) -> None:
        self._now = (MonotonicClock() if clock is None else clock).now_ns
        self._opened = contextlib.ExitStack()
        self._closer = weakref.finalize(self, self._opened.close)
        self._scheduled = self._open(root / "proc/thread-self/schedstat")
        if self._scheduled is not None and not re.match(rb"\d+ \d+ [1-9]", _text(self._scheduled)):
            # A kernel that doesn't keep these figures writes zeros; whoever reads this has run for a slice at least.
            self._scheduled = None
        self._others = OtherThreads(root)
        self._opened.callback(self._others.close)
        self._stat = self._open(root / "proc/stat")
        cores = [root / f"sys/devices/system/cpu/cpu{core}" for core in usable_cores()]
        self._frequencies = self._all(core / "cpufreq/scaling_cur_freq" for core in cores[:_MOST_FREQUENCIES])
        self._throttles = self._all(
            core / f"thermal_throttle/{kind}_throttle_count" for core in cores for kind in ("core", "package")
        )
        self._device_throttled = None if throttled is None or throttled() is None else throttled
        self._slow = bool(self._stat is not None or self._frequencies or self._throttles or self._device_throttled)
        self.waited_ns = 0
        self._samples = 0
        self._hits: dict[int, int] = {}
        self._seen_mhz: list[float] = []
        self._throttled = False
        self._usage = self._first_usage = resource.getrusage(resource.RUSAGE_SELF)
        self._own = self._own_switches()
        self._waited = self._first_waited = self._waited_ns()
        self._others_waited: int | None = None
        self._begin = self._ended = self._made = self._now()
        self._ticks = self._first_ticks = self._read_ticks()
        self._throttle_count = self._read_throttles()
        self._fastest_look = self._interval = _LOOK_NS
        self._look()

    def begin(self) -> None:
        """Note the counters before a sample."""
        if self._slow and self._now() - self._ended >= self._interval:
            # What happened since the last sample isn't this one's; right behind it the reading can wait for the end.
            self._look()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._own = self._own_switches()
        self._waited = self._waited_ns()
        self._others_waited = None if self._waited is None else self._others.waited_ns()
        self._begin = self._now()

    def end(self) -> int:
        """The `Hit` flags of what happened since `begin`."""
        now = self._ended = self._now()
        usage, before = resource.getrusage(resource.RUSAGE_SELF), self._usage
        flags = 0
        self.waited_ns = 0 if self._waited is None else (self._waited_ns() or 0) - self._waited
        if max(self.waited_ns, self._lost_by_others(usage)) > HIT_SHARE * (now - self._begin):
            flags |= Hit.PREEMPTED.value
        if usage.ru_majflt > before.ru_majflt:
            flags |= Hit.PAGE_FAULT.value
        if self._slow and now - self._looked >= self._interval:
            flags |= self._look()
        self._samples += 1
        if flags:
            self._hits[flags] = self._hits.get(flags, 0) + 1
        return flags

    def noise(self) -> Noise:
        """What happened since the watch was made."""
        if self._slow:
            self._look()
        usage, first, waited = resource.getrusage(resource.RUSAGE_SELF), self._first_usage, self._waited_ns()
        steal_share, others_share = self._shares(usage.ru_utime + usage.ru_stime - first.ru_utime - first.ru_stime)
        counts: dict[str, int] = {}
        for flags, count in self._hits.items():
            for cause in causes([flags]):
                counts[cause] = counts.get(cause, 0) + count
        return Noise(
            seconds=(self._now() - self._made) * 1e-9,
            samples=self._samples,
            hit=counts,
            steal_share=steal_share,
            others_share=others_share,
            waited_seconds=None if waited is None else (waited - (self._first_waited or 0)) * 1e-9,
            voluntary=usage.ru_nvcsw - first.ru_nvcsw,
            involuntary=usage.ru_nivcsw - first.ru_nivcsw,
            minor_faults=usage.ru_minflt - first.ru_minflt,
            major_faults=usage.ru_majflt - first.ru_majflt,
            load=_load(),
            frequency=(min(self._seen_mhz), max(self._seen_mhz)) if self._seen_mhz else None,
            throttled=self._throttled if self._throttles or self._device_throttled else None,
        )

    def close(self) -> None:
        """Close the descriptors; the watch is of no use afterwards."""
        self._closer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: Path) -> int | None:
        """A descriptor that stays open, since opening costs more than reading; None where the file cannot be read."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if not os.pread(descriptor, 16, 0).strip():
                raise OSError
        except OSError:
            os.close(descriptor)
            return None
        self._opened.callback(os.close, descriptor)
        return descriptor

    def _all(self, paths: Iterable[Path]) -> list[int]:
        return [one for path in paths if (one := self._open(path)) is not None]

    def _waited_ns(self) -> int | None:
        return None if self._scheduled is None else int(os.pread(self._scheduled, 64, 0).split()[1])

    def _lost_by_others(self, usage: resource.struct_rusage) -> int:
        """Nanoseconds that other threads were kept waiting, or may have been where only their switches are known."""
        if self._others_waited is not None and (waited := self._others.waited_ns()) is not None:
            return waited - self._others_waited
        switches = usage.ru_nivcsw - self._usage.ru_nivcsw
        if self._waited is not None:
            # How long this thread was away is known exactly.
            switches -= self._own_switches() - self._own
        return switches * _SLICE_NS

    @staticmethod
    def _own_switches() -> int:
        return 0 if _RUSAGE_THREAD is None else resource.getrusage(_RUSAGE_THREAD).ru_nivcsw

    def _look(self) -> int:
        """Read the slow counters; the flags of what they show since the last look."""
        begin = self._now()
        flags = 0
        self._others.refresh()
        ticks, before = self._read_ticks(), self._ticks
        if ticks is not None and before is not None:
            stolen = ticks.stolen - before.stolen
            if stolen > HIT_SHARE * (ticks.busy - before.busy + stolen):
                flags |= Hit.STEAL.value
        self._ticks = ticks
        self._seen_mhz += [int(text) / 1e3 for one in self._frequencies if (text := _text(one)).isdigit()]
        if len(self._seen_mhz) > 2:
            self._seen_mhz = [min(self._seen_mhz), max(self._seen_mhz)]
        count = self._read_throttles()
        if count > self._throttle_count or (self._device_throttled is not None and self._device_throttled()):
            flags |= Hit.THROTTLED.value
            self._throttled = True
        self._throttle_count = count
        self._looked = self._now()
        self._fastest_look = min(self._fastest_look, self._looked - begin)
        self._interval = max(_LOOK_NS, round(self._fastest_look / _LOOK_SHARE))
        return flags

    def _read_throttles(self) -> int:
        return sum(int(text) for one in self._throttles if (text := _text(one)).isdigit())

    def _read_ticks(self) -> _Ticks | None:
        if self._stat is None:
            return None
        return _ticks(os.pread(self._stat, 160, 0))

    def _shares(self, own_seconds: float) -> tuple[float | None, float | None]:
        """The stolen share of the time that was wanted, and other processes' share of all cores."""
        now, first = self._ticks, self._first_ticks
        if now is None or first is None or now.every <= first.every:
            return None, None
        busy, stolen = now.busy - first.busy, now.stolen - first.stolen
        others = busy - own_seconds / _TICK_SECONDS
        return stolen / max(busy + stolen, 1), max(others, 0.0) / (now.every - first.every)


AnyWatch = Watch | NoWatch


def _ticks(text: bytes) -> _Ticks | None:
    """The columns of ``cpu user nice system idle iowait irq softirq steal guest guest_nice``; guests' are in user's."""
    match = re.match(rb"cpu\s+((?:\d+\s+){8})", text)
    if match is None:
        return None
    user, nice, system, idle, waiting, irq, softirq, stolen = (int(one) for one in match[1].split())
    busy = user + nice + system + irq + softirq
    return _Ticks(busy, stolen, busy + stolen + idle + waiting)


def _text(descriptor: int) -> bytes:
    """What a small file says; nothing where it cannot be read now (a processor that has been switched off)."""
    try:
        return os.pread(descriptor, 64, 0).strip()
    except OSError:
        return b""


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None

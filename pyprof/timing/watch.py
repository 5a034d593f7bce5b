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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pyprof.records.noise import HIT_SHARE, NOTHING, Hit, Noise, SystemTime, causes
from pyprof.timing.clock import Clock, MonotonicClock
from pyprof.timing.cores import ROOT
from pyprof.timing.counter_files import CounterFiles, text
from pyprof.timing.process_usage import TICK_SECONDS, usage_of
from pyprof.timing.slow_counters import SlowCounters
from pyprof.timing.threads import OtherThreads

# A thread that was preempted comes back after a slice of the scheduler at most, unless several wait: 3 ms on Linux.
_SLICE_NS = 3_000_000
_RUSAGE_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)


class NoWatch:
    """A watch that sees nothing: for injected time, or where noise does not matter."""

    waited_ns = 0
    others_waited_ns: int | None = None
    system = NOTHING

    def begin(self) -> None:
        """Nothing to note."""

    def end(self) -> int:
        """No flags."""
        return 0

    def noise(self) -> Noise:
        """That nothing was seen."""
        return Noise(0.0, 0)


class Watch:
    """Reads the counters around samples, in the thread that made it.

    `begin` and `end` cost a few microseconds each and lie outside of the timed call. `throttled` tells whether a device
    beside the processor is held back by heat or power now (``Device.throttled``), None where it doesn't tell. `root` is
    where /proc and /sys are looked for. The descriptors are closed by `close`, by leaving a `with`, or with the watch
    itself.

    `helpers` are processes that work for this one, such as the ranks of a sharded model: they are no others.

    `waited_ns` is how long this thread stood runnable in the run queue during the last sample; 0 where that isn't told.
    `others_waited_ns` is the same of the other threads of this process together; None where that isn't told.
    `system` is what the system did for this process during it.
    """

    def __init__(
        self,
        throttled: Callable[[], bool | None] | None = None,
        clock: Clock | None = None,
        root: Path = ROOT,
        helpers: Sequence[int] = (),
    ) -> None:
        clock = MonotonicClock() if clock is None else clock
        self._now = clock.now_ns
        files = CounterFiles()
        self._closer = weakref.finalize(self, files.close)
        self._scheduled = files.open(root / "proc/thread-self/schedstat")
        if self._scheduled is not None and not re.match(rb"\d+ \d+ [1-9]", text(self._scheduled)):
            # A kernel that doesn't keep these figures writes zeros; whoever reads this has run for a slice at least.
            self._scheduled = None
        self._others = OtherThreads(root)
        files.close_too(self._others.close)
        asked = None if throttled is None or throttled() is None else throttled
        self._slow = SlowCounters(files, self._others, clock, root, asked)
        self.waited_ns = 0
        self.others_waited_ns: int | None = None
        self.system = NOTHING
        self._samples = 0
        self._hits: dict[int, int] = {}
        self._helpers = [root / f"proc/{helper}" for helper in helpers]
        self._helped = self._helper_seconds()
        self._usage = self._first_usage = resource.getrusage(resource.RUSAGE_SELF)
        self._own = self._own_switches()
        self._waited = self._first_waited = self._waited_ns()
        self._others_before: int | None = None
        self._begin = self._ended = self._made = self._now()

    def begin(self) -> None:
        """Note the counters before a sample."""
        if self._slow.exist and self._now() - self._ended >= self._slow.interval_ns:
            # What happened since the last sample isn't this one's; right behind it the reading can wait for the end.
            self._slow.look()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._own = self._own_switches()
        self._waited = self._waited_ns()
        self._others_before = None if self._waited is None else self._others.waited_ns()
        self._begin = self._now()

    def end(self) -> int:
        """The `Hit` flags of what happened since `begin`."""
        now = self._ended = self._now()
        usage, before = resource.getrusage(resource.RUSAGE_SELF), self._usage
        flags = 0
        self.system = SystemTime.of(usage) - SystemTime.of(before)
        self.waited_ns = 0 if self._waited is None else (self._waited_ns() or 0) - self._waited
        self.others_waited_ns = self._waited_by_others()
        if max(self.waited_ns, self._lost_by_others(usage)) > HIT_SHARE * (now - self._begin):
            flags |= Hit.PREEMPTED.value
        if usage.ru_majflt > before.ru_majflt:
            flags |= Hit.PAGE_FAULT.value
        if self._slow.are_due(now):
            flags |= self._slow.look()
        self._samples += 1
        if flags:
            self._hits[flags] = self._hits.get(flags, 0) + 1
        return flags

    def noise(self) -> Noise:
        """What happened since the watch was made."""
        if self._slow.exist:
            self._slow.look()
        usage, first, waited = resource.getrusage(resource.RUSAGE_SELF), self._first_usage, self._waited_ns()
        own = usage.ru_utime + usage.ru_stime - first.ru_utime - first.ru_stime
        steal_share, others_share = self._slow.shares(own + self._helper_seconds() - self._helped)
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
            frequency=self._slow.frequency,
            throttled=self._slow.throttled,
        )

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """What happens inside of the context, between two samples, is none of what `noise` tells of."""
        begin = self._now()
        with self._slow.away():
            yield
        self._made += self._now() - begin

    def close(self) -> None:
        """Close the descriptors; the watch is of no use afterwards."""
        self._closer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _helper_seconds(self) -> float:
        """What the helpers have worked by now; one that has ended counts for nothing, nor where no system tells."""
        used = (usage_of(helper) for helper in self._helpers)
        return TICK_SECONDS * sum(usage.ticks for usage in used if usage is not None)

    def _waited_ns(self) -> int | None:
        return None if self._scheduled is None else int(os.pread(self._scheduled, 64, 0).split()[1])

    def _waited_by_others(self) -> int | None:
        now = None if self._others_before is None else self._others.waited_ns()
        # A thread that has ended takes what it waited with it.
        return None if now is None or self._others_before is None else max(0, now - self._others_before)

    def _lost_by_others(self, usage: resource.struct_rusage) -> int:
        """Nanoseconds that other threads were kept waiting, or may have been where only their switches are known."""
        if self.others_waited_ns is not None:
            return self.others_waited_ns
        switches = usage.ru_nivcsw - self._usage.ru_nivcsw
        if self._waited is not None:
            # How long this thread was away is known exactly.
            switches -= self._own_switches() - self._own
        return switches * _SLICE_NS

    @staticmethod
    def _own_switches() -> int:
        return 0 if _RUSAGE_THREAD is None else resource.getrusage(_RUSAGE_THREAD).ru_nivcsw


AnyWatch = Watch | NoWatch


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None

"""Counters that move in steps of 10 ms and are slow to read: stolen time, frequencies, throttling. Loads no torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pyprof.records.noise import HIT_SHARE, Hit
from pyprof.timing.clock import Clock
from pyprof.timing.cores import Ticks, parse_ticks, usable_cores
from pyprof.timing.counter_files import CounterFiles, number, text
from pyprof.timing.threads import OtherThreads

# The counters are read this often at most, and may cost this share of the time.
_INTERVAL_NS = 10_000_000
_COST_SHARE = 0.001
_MOST_FREQUENCIES = 8
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
# Enough for the first line of /proc/stat, which holds all processors together.
_FIRST_LINE_BYTES = 160


class SlowCounters:
    """What all processors did, the frequency and throttling of the usable ones, and which other threads there are.

    `throttled` asks the device whether it is throttled now, where it can be asked. `interval_ns` is how far apart looks
    should be, at first 10 ms: a thousand times what the fastest look took, where that is longer.
    """

    def __init__(
        self,
        files: CounterFiles,
        others: OtherThreads,
        clock: Clock,
        root: Path,
        throttled: Callable[[], bool | None] | None,
    ) -> None:
        self._now = clock.now_ns
        self._others = others
        self._stat = files.open(root / "proc/stat")
        cores = [root / f"sys/devices/system/cpu/cpu{core}" for core in usable_cores()]
        self._frequencies = files.open_all(core / "cpufreq/scaling_cur_freq" for core in cores[:_MOST_FREQUENCIES])
        self._throttles = files.open_all(
            core / f"thermal_throttle/{kind}_throttle_count" for core in cores for kind in ("core", "package")
        )
        self._device_throttled = throttled
        self.exist = bool(self._stat is not None or self._frequencies or self._throttles or throttled)
        self._seen_mhz: list[float] = []
        self._was_throttled = False
        self._ticks = self._first_ticks = self._read_ticks()
        self._throttle_count = self._read_throttles()
        self._fastest_look = self.interval_ns = _INTERVAL_NS
        self.look()

    def are_due(self, now_ns: int) -> bool:
        """Whether the last look was so long ago that another one costs next to nothing."""
        return self.exist and now_ns - self._looked >= self.interval_ns

    def look(self) -> int:
        """Read the counters; the `Hit` flags of what they show since the last look."""
        begin = self._now()
        self._others.refresh()
        flags = self._stolen_flag() | self._throttled_flag()
        megahertz = [kilohertz / 1e3 for file in self._frequencies if (kilohertz := number(file)) is not None]
        if megahertz:
            self._seen_mhz = [min(self._seen_mhz + megahertz), max(self._seen_mhz + megahertz)]
        self._looked = self._now()
        self._fastest_look = min(self._fastest_look, self._looked - begin)
        self.interval_ns = max(_INTERVAL_NS, round(self._fastest_look / _COST_SHARE))
        return flags

    def shares(self, own_seconds: float) -> tuple[float | None, float | None]:
        """The stolen share of the time that was wanted, and other processes' share of all cores, up to the last look.

        `own_seconds` are those that this process worked. Both are None where the system doesn't tell.
        """
        now, first = self._ticks, self._first_ticks
        if now is None or first is None or now.every <= first.every:
            return None, None
        busy, stolen = now.busy - first.busy, now.stolen - first.stolen
        others = busy - own_seconds / _TICK_SECONDS
        return stolen / max(busy + stolen, 1), max(others, 0.0) / (now.every - first.every)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """What all processors do inside of the context is none of what `shares` tells of."""
        before = self._read_ticks()
        yield
        self._ticks = self._read_ticks()
        if self._first_ticks is not None and before is not None and self._ticks is not None:
            self._first_ticks += self._ticks - before

    @property
    def frequency(self) -> tuple[float, float] | None:
        """The lowest and the highest frequency that was seen, in MHz; None where the system doesn't tell."""
        return (self._seen_mhz[0], self._seen_mhz[1]) if self._seen_mhz else None

    @property
    def throttled(self) -> bool | None:
        """Whether a processor or the device was seen throttled; None where neither tells."""
        return self._was_throttled if self._throttles or self._device_throttled else None

    def _stolen_flag(self) -> int:
        before, self._ticks = self._ticks, self._read_ticks()
        if self._ticks is None or before is None:
            return 0
        stolen = self._ticks.stolen - before.stolen
        wanted = self._ticks.busy - before.busy + stolen
        return Hit.STEAL.value if stolen > HIT_SHARE * wanted else 0

    def _throttled_flag(self) -> int:
        before, self._throttle_count = self._throttle_count, self._read_throttles()
        if self._throttle_count > before or (self._device_throttled is not None and self._device_throttled()):
            self._was_throttled = True
            return Hit.THROTTLED.value
        return 0

    def _read_throttles(self) -> int:
        return sum(number(file) or 0 for file in self._throttles)

    def _read_ticks(self) -> Ticks | None:
        """The ticks of all processors together."""
        if self._stat is None:
            return None
        return parse_ticks(text(self._stat, _FIRST_LINE_BYTES).decode()).get("cpu")

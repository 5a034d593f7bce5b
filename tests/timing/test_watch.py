from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from machine_files import MachineFiles

from pyprof.device.nvml import Nvml
from pyprof.records.noise import Hit, Noise, causes
from pyprof.timing import slow_counters
from pyprof.timing import watch as watches
from pyprof.timing.cores import Ticks, parse_ticks
from pyprof.timing.slow_counters import SlowCounters
from pyprof.timing.threads import OtherThreads
from pyprof.timing.watch import NoWatch, Watch

MS = 1_000_000
TICK = 1 / os.sysconf("SC_CLK_TCK")


class Usage:
    """What getrusage says of the process and of this thread."""

    def __init__(self) -> None:
        self.process = dict.fromkeys(("ru_utime", "ru_stime", "ru_nvcsw", "ru_nivcsw", "ru_minflt", "ru_majflt"), 0.0)
        self.own_involuntary = 0

    def getrusage(self, who: int) -> Any:
        if who == resource.RUSAGE_SELF:
            return SimpleNamespace(**self.process)
        return SimpleNamespace(ru_nivcsw=self.own_involuntary)

    def add(self, own: int = 0, **changes: float) -> None:
        self.own_involuntary += own
        for name, value in changes.items():
            self.process[f"ru_{name}"] += value


@pytest.fixture
def usage(monkeypatch: pytest.MonkeyPatch) -> Usage:
    usage = Usage()
    names = {name: getattr(resource, name) for name in ("RUSAGE_SELF", "RUSAGE_THREAD")}
    monkeypatch.setattr(watches, "resource", SimpleNamespace(getrusage=usage.getrusage, **names))
    monkeypatch.setattr(slow_counters, "usable_cores", lambda: [0, 1])
    return usage


@pytest.fixture
def files(tmp_path: Path) -> MachineFiles:
    files = MachineFiles(tmp_path)
    files.waited(0)
    files.ticks(1000, 1000)
    return files


@pytest.fixture
def watch(usage: Usage, files: MachineFiles, clock: Any) -> Iterator[Watch]:
    with Watch(clock=clock, root=files.root) as watch:
        yield watch


@pytest.mark.parametrize(("waited", "flags"), [(0, 0), (500_000, 0), (500_001, Hit.PREEMPTED)])
def test_a_wait_counts_beyond_its_share(watch: Watch, files: MachineFiles, clock: Any, waited: int, flags: int) -> None:
    watch.begin()
    clock.now += 100 * MS
    files.waited(waited)
    assert watch.end() == flags


def test_a_wait_between_samples_is_nobodys(watch: Watch, files: MachineFiles, clock: Any) -> None:
    watch.begin()
    watch.end()
    files.waited(50 * MS)
    watch.begin()
    clock.now += MS
    assert watch.end() == 0
    assert watch.noise().waited_seconds == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("switches", "own", "milliseconds", "flags"),
    [
        (1, 0, 599, Hit.PREEMPTED),  # another thread of the process may have lost 3 ms
        (1, 0, 601, 0),
        (2, 0, 601, Hit.PREEMPTED),
        (1, 1, 100, 0),  # this thread's loss is known from its wait, which is nothing
        (3, 2, 599, Hit.PREEMPTED),
    ],
)
def test_switches_of_other_threads_count_by_what_they_may_have_cost(
    watch: Watch, usage: Usage, clock: Any, switches: int, own: int, milliseconds: int, flags: int
) -> None:
    watch.begin()
    clock.now += milliseconds * MS
    usage.add(own, nivcsw=switches)
    assert watch.end() == flags


@pytest.mark.parametrize(("waited", "flags"), [(0, 0), (2_999_999, 0), (3_000_001, Hit.PREEMPTED)])
def test_where_their_waits_are_told_other_threads_switches_are_not_guessed_from(
    usage: Usage, files: MachineFiles, clock: Any, waited: int, flags: int
) -> None:
    files.write("proc/self/task/7/schedstat", "5000000 1000 12")
    files.write("proc/self/task/8/schedstat", "5000000 2000 12")
    with Watch(clock=clock, root=files.root) as watch:
        watch.begin()
        clock.now += 600 * MS
        usage.add(nivcsw=50)
        files.write("proc/self/task/7/schedstat", f"5000000 {1000 + waited // 2} 12")
        files.write("proc/self/task/8/schedstat", f"5000000 {2000 + waited - waited // 2} 12")
        assert watch.end() == flags
        assert watch.waited_ns == 0  # that is this thread's alone
        assert watch.others_waited_ns == waited


def test_threads_that_begin_are_found_and_those_that_end_are_left_out(files: MachineFiles) -> None:
    files.write("proc/self/task/7/schedstat", "1 1000 1")
    others = OtherThreads(files.root)
    assert others.waited_ns() == 1000
    files.write("proc/self/task/8/schedstat", "1 500 1")
    assert others.waited_ns() == 1000
    others.refresh()
    assert others.waited_ns() == 1500
    shutil.rmtree(files.root / "proc/self/task/7")
    others.refresh()
    assert others.waited_ns() == 500
    for number in range(100, 170):
        files.write(f"proc/self/task/{number}/schedstat", "1 1 1")
    others.refresh()
    assert others.waited_ns() is None  # too many to be read around every sample
    others.close()
    assert OtherThreads(files.root / "elsewhere").waited_ns() is None


def test_without_the_wait_a_threads_own_switches_count_too(usage: Usage, tmp_path: Path, clock: Any) -> None:
    watch = Watch(clock=clock, root=tmp_path)
    watch.begin()
    clock.now += 100 * MS
    usage.add(1, nivcsw=1)
    assert watch.end() == Hit.PREEMPTED


@pytest.mark.parametrize("text", ["0 0 0", "12", "none of that"])
def test_a_kernel_that_keeps_no_waits_is_not_believed(usage: Usage, files: MachineFiles, clock: Any, text: str) -> None:
    files.write("proc/thread-self/schedstat", text)
    with Watch(clock=clock, root=files.root) as watch:
        assert watch.noise().waited_seconds is None
        watch.begin()
        clock.now += 100 * MS
        usage.add(1, nivcsw=1)
        assert watch.end() == Hit.PREEMPTED


def test_only_major_faults_count(watch: Watch, usage: Usage, clock: Any) -> None:
    watch.begin()
    usage.add(minflt=1000)
    assert watch.end() == 0
    watch.begin()
    usage.add(majflt=1)
    assert watch.end() == Hit.PAGE_FAULT


def test_stolen_time_counts_as_a_share_of_what_was_wanted(watch: Watch, files: MachineFiles, clock: Any) -> None:
    watch.begin()
    clock.now += 2000 * MS
    files.ticks(1199, 1200, stolen=1)
    assert watch.end() == 0  # 1 of 200
    watch.begin()
    clock.now += 2000 * MS
    files.ticks(1397, 1400, stolen=2)
    assert watch.end() == Hit.STEAL  # 1 of 199
    watch.begin()
    clock.now += 2000 * MS
    files.ticks(1600, 1600, stolen=2)
    assert watch.end() == 0


def test_slow_counters_are_read_every_ten_milliseconds(watch: Watch, files: MachineFiles, clock: Any) -> None:
    found = []
    files.ticks(1000, 1000, stolen=1)
    for _ in range(25):
        watch.begin()
        clock.now += MS
        found.append(watch.end())
    # The sample at whose end they are read carries the mark for those before it.
    assert found == [Hit.STEAL if index == 9 else 0 for index in range(25)]


def test_short_pauses_between_samples_do_not_hide_what_was_stolen(
    watch: Watch, files: MachineFiles, clock: Any
) -> None:
    found = []
    for index in range(4):
        watch.begin()
        clock.now += 4 * MS
        if index == 2:
            files.ticks(1000, 1000, stolen=1)
        found.append(watch.end())
        clock.now += 5 * MS
    # Read at 13 ms, and then neither at 22 nor before the last sample, at 27, but at its end.
    assert found == [0, 0, 0, Hit.STEAL]


def test_the_first_line_holds_what_all_cores_did() -> None:
    assert parse_ticks("cpu  1 2 3 40 50 6 7 8 9 10\ncpu0 1 2") == {"cpu": Ticks(busy=19, stolen=8, every=117)}
    assert "cpu" not in parse_ticks("cpu0 1 2 3 40 50 6 7 8 9 10")


def test_what_was_stolen_in_a_pause_is_no_samples(watch: Watch, files: MachineFiles, clock: Any) -> None:
    clock.now += 500 * MS
    files.ticks(1000, 1000, stolen=40)
    watch.begin()
    clock.now += 20 * MS
    assert watch.end() == 0
    assert watch.noise().steal_share == 1.0


def test_slow_counters_that_take_long_are_read_less_often(
    usage: Usage, files: MachineFiles, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    read = SlowCounters._read_ticks

    def slow(self: SlowCounters) -> Any:
        looks.append(clock.now)
        clock.now += MS // 10
        return read(self)

    monkeypatch.setattr(SlowCounters, "_read_ticks", slow)
    watch = Watch(clock=clock, root=files.root)
    looks.clear()
    for _ in range(250):
        watch.begin()
        clock.now += MS
        watch.end()
    assert len(looks) == 2  # every hundred milliseconds: a thousandth of the time
    watch.close()


def test_throttling_and_frequency_are_those_of_the_usable_cores(usage: Usage, files: MachineFiles, clock: Any) -> None:
    for core, frequency in ((0, 3_400_000), (1, 2_900_000), (2, 800_000)):
        files.core(core, "cpufreq/scaling_cur_freq", frequency)
        files.core(core, "thermal_throttle/core_throttle_count", 7)
    watch = Watch(clock=clock, root=files.root)
    watch.begin()
    clock.now += 20 * MS
    files.core(2, "thermal_throttle/core_throttle_count", 8)
    assert watch.end() == 0
    quiet = watch.noise()
    assert (quiet.frequency, quiet.throttled) == ((2900.0, 3400.0), False)
    watch.begin()
    clock.now += 20 * MS
    files.core(1, "thermal_throttle/core_throttle_count", 8)
    files.core(0, "cpufreq/scaling_cur_freq", 1_000_000)
    assert watch.end() == Hit.THROTTLED
    noisy = watch.noise()
    assert (noisy.frequency, noisy.throttled, noisy.hit) == ((1000.0, 3400.0), True, {"throttled": 1})
    watch.begin()
    clock.now += 20 * MS
    assert watch.end() == 0  # the count stands at 8 and rises no more
    watch.close()


def test_the_whole_time_is_summed_up(watch: Watch, usage: Usage, files: MachineFiles, clock: Any) -> None:
    for _ in range(3):
        watch.begin()
        clock.now += MS
        usage.add(majflt=1, nvcsw=2)
        watch.end()
    clock.now += 997 * MS
    files.ticks(1100, 1075, stolen=25)
    files.waited(7 * MS)
    usage.add(utime=60 * TICK, stime=10 * TICK, minflt=5)
    found = watch.noise()
    assert found.seconds == pytest.approx(1.0)
    assert (found.samples, found.hit) == (3, {"page_fault": 3})
    assert found.steal_share == 0.2
    assert found.others_share == pytest.approx(30 / 200)
    assert found.waited_seconds == pytest.approx(0.007)
    assert (found.voluntary, found.involuntary, found.minor_faults, found.major_faults) == (6, 0, 5, 3)
    assert (found.frequency, found.throttled) == (None, None)
    assert Noise(**json.loads(json.dumps(found.to_json()))) == found
    assert str(found) == "other processes used 15 % of all cores; the hypervisor withheld 20.0 % of the time"


def test_what_happens_while_others_have_their_turn_is_no_part_of_the_whole(
    watch: Watch, files: MachineFiles, clock: Any
) -> None:
    clock.now += 500 * MS
    files.ticks(1040, 1060)
    with watch.away():
        clock.now += 9_000 * MS
        files.ticks(1940, 1060, stolen=900)
    clock.now += 500 * MS
    files.ticks(1960, 1140, stolen=900)
    found = watch.noise()
    assert found.seconds == pytest.approx(1.0)
    assert found.others_share == pytest.approx(60 / 200)
    assert found.steal_share == 0.0


def test_a_system_that_tells_nothing_costs_nothing(usage: Usage, tmp_path: Path, clock: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))
    watch = Watch(clock=clock, root=tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
    watch.begin()
    clock.now += MS
    assert watch.end() == 0
    found = watch.noise()
    assert [found.steal_share, found.others_share, found.waited_seconds, found.frequency, found.throttled] == [None] * 5
    assert str(found) == "nothing is known of the machine"


def test_files_that_hold_something_else_are_left_alone(usage: Usage, files: MachineFiles, clock: Any) -> None:
    files.write("proc/stat", "intr 5 5 5")
    files.core(0, "cpufreq/scaling_cur_freq", "<unknown>")
    files.write("proc/thread-self/schedstat", "")
    found = Watch(clock=clock, root=files.root).noise()
    assert (found.steal_share, found.frequency, found.waited_seconds) == (None, None, None)


def test_descriptors_are_closed_at_the_end_of_the_block_and_with_the_watch(files: MachineFiles) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with Watch(root=files.root):
        assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    watch = Watch(root=files.root)
    watch.close()
    watch.close()
    Watch(root=files.root)
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_flags_are_counted_by_cause() -> None:
    assert causes([0, 1, 5, 0, 8]) == {"preempted": 2, "page_fault": 1, "throttled": 1}
    assert causes([]) == {}


def test_no_watch_has_the_same_surface_and_sees_nothing() -> None:
    watch = NoWatch()
    watch.begin()
    assert watch.end() == 0
    assert (watch.noise().samples, watch.noise().hit) == (0, {})


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="this system doesn't tell the wait")
def test_a_busy_neighbour_on_the_only_core_is_seen() -> None:
    program = "import os, time\nos.sched_setaffinity(0, {%d})\nprint(flush=True)\nend = time.time() + 5\n"
    core = min(os.sched_getaffinity(0))
    busy = subprocess.Popen(
        [sys.executable, "-c", program % core + "while time.time() < end: pass"], stdout=subprocess.PIPE
    )
    found = []

    def measure() -> None:
        os.sched_setaffinity(0, {core})  # of this thread alone
        with Watch() as watch:
            for _ in range(10):
                watch.begin()
                end = time.perf_counter() + 0.03
                while time.perf_counter() < end:
                    pass
                watch.end()
            found.append(watch.noise())

    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        thread = threading.Thread(target=measure)
        thread.start()
        thread.join()
    finally:
        busy.kill()
        busy.wait()
        busy.stdout.close()
    assert found[0].hit.get("preempted", 0) >= 3
    assert (found[0].waited_seconds or 0) > 0.02


class Library:
    """Stands for pynvml."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    def __init__(self, reasons: int | None) -> None:
        self.reasons = reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        assert handle == "card"
        if self.reasons is None:
            raise self.NVMLError
        return self.reasons


@pytest.mark.parametrize(
    ("reasons", "throttled"), [(0, False), (0x1, False), (0x2, False), (0x40, True), (0x4 | 0x1, True), (None, False)]
)
def test_a_card_is_throttled_by_heat_and_power_only(reasons: int | None, throttled: bool) -> None:
    assert Nvml(Library(reasons), "card").throttled() is throttled


def test_a_throttled_card_marks_samples(usage: Usage, tmp_path: Path, clock: Any) -> None:
    library = Library(0)
    watch = Watch(Nvml(library, "card").throttled, clock, tmp_path)
    watch.begin()
    clock.now += 20 * MS
    assert watch.end() == 0
    assert watch.noise().throttled is False
    library.reasons = 0x20
    watch.begin()
    clock.now += 20 * MS
    assert watch.end() == Hit.THROTTLED
    assert watch.noise().throttled is True


def test_a_device_that_does_not_tell_is_not_asked_again(usage: Usage, tmp_path: Path, clock: Any) -> None:
    asked = []
    watch = Watch(lambda: asked.append(clock.now), clock, tmp_path)
    watch.begin()
    clock.now += 20 * MS
    assert watch.end() == 0
    assert watch.noise().throttled is None
    assert len(asked) == 1


def test_the_cpu_is_watched_without_the_cards_library() -> None:
    code = (
        "import sys; from pyprof.timing.watch import Watch; Watch().noise(); "
        "print('pynvml' in sys.modules, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


def test_noise_is_told_as_a_person_would() -> None:
    assert str(Noise(1.0, 20, {"preempted": 20}, others_share=0.25)) == "other processes used 25 % of all cores"
    assert str(Noise(1.0, 20, frequency=(800.0, 3200.0), throttled=True)) == (
        "the clock ran at 800 to 3200 MHz; it was lowered for heat or power"
    )

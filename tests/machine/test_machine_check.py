from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from machine_files import MachineFiles

from pyprof.device.nvml import Nvml
from pyprof.machine import check as checking
from pyprof.machine import pin, settings
from pyprof.machine.check import MachineCheck, Observation, activity, expected, gpu_checks
from pyprof.machine.processes import Process, Usage, busiest, processor_ticks
from pyprof.machine.settings import Check
from pyprof.machine.steadiness import Steadiness, steadiness
from pyprof.records.noise import Noise
from pyprof.statistics.ranks import detectable
from pyprof.timing.clock import HostStopwatch

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
MS = 1_000_000


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MachineFiles:
    use(monkeypatch, 4)
    monkeypatch.setattr(settings.pin, "pinned", lambda: None)
    return MachineFiles(tmp_path)


def use(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(settings, "usable_cores", lambda: list(range(cores)))


def found(files: MachineFiles, name: str, threads: int = 4) -> Check:
    return next(one for one in settings.settings(threads, files.root) if one.name == name)


def test_a_machine_that_tells_nothing_is_unknown(files: MachineFiles) -> None:
    checks = {one.name: one.status for one in settings.settings(4, files.root)}
    assert checks == {
        "governor": "unknown",
        "turbo": "unknown",
        "hyperthreads": "ok",
        "threads": "ok",
        "pinning": "ok",
    }
    files.write("proc/cpuinfo", "processor: 0\nflags\t\t: fpu hypervisor avx2")
    assert found(files, "governor").found == "not reported by the system, a virtual machine"
    assert found(files, "hyperthreads").status == "unknown"


def test_the_governor_has_to_be_performance_everywhere(files: MachineFiles) -> None:
    for core in range(4):
        files.core(core, "cpufreq/scaling_governor", "performance")
    assert found(files, "governor") == Check("governor", "ok", "performance")
    files.core(2, "cpufreq/scaling_governor", "powersave")
    files.core(7, "cpufreq/scaling_governor", "schedutil")  # not usable
    one = found(files, "governor")
    assert (one.status, one.found) == ("warn", "performance, powersave")
    assert one.advice == "sudo cpupower frequency-set -g performance"


@pytest.mark.parametrize(
    ("path", "text", "status", "command"),
    [
        ("intel_pstate/no_turbo", 0, "warn", "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"),
        ("intel_pstate/no_turbo", 1, "ok", None),
        ("cpufreq/boost", 1, "warn", "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"),
        ("cpufreq/boost", 0, "ok", None),
    ],
)
def test_turbo_is_on_or_off(files: MachineFiles, path: str, text: int, status: str, command: str | None) -> None:
    files.write(f"sys/devices/system/cpu/{path}", text)
    one = found(files, "turbo")
    assert (one.status, one.advice) == (status, command)


def test_threads_that_share_a_core_are_told(files: MachineFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    for core in range(4):
        files.core(core, "topology/thread_siblings_list", f"{core % 2},{core % 2 + 2}")
    assert found(files, "hyperthreads", 4).found == "4 processors on 2 cores: 4 threads have to share them"
    one = found(files, "hyperthreads", 2)
    assert (one.status, one.found) == ("warn", "4 processors on 2 cores: two threads may land on one core")
    use(monkeypatch, 2)
    assert found(files, "hyperthreads", 2).status == "ok"


def test_more_threads_than_processors_are_told(files: MachineFiles) -> None:
    assert found(files, "threads", 4) == Check("threads", "ok", "4 for 4 processors")
    one = found(files, "threads", 5)
    assert (one.status, one.advice) == ("warn", "OMP_NUM_THREADS=4 or --pin, which sets it")


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ({"cpu.max": "max 100000"}, "ok"),
        ({"cpu.max": "400000 100000"}, "ok"),
        ({"cpu.max": "250000 100000"}, "warn"),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "ok"),
        ({"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, "warn"),
    ],
)
def test_a_containers_quota_is_told(files: MachineFiles, written: dict[str, str], status: str) -> None:
    for name, text in written.items():
        files.write(f"sys/fs/cgroup/{name}", text)
    assert found(files, "threads", 2).status == "ok"
    one = found(files, "threads", 4)
    assert one.status == status
    if status == "warn":
        assert one.found == "4 for 4 processors, of which the container grants 2.5"
        assert one.advice == "OMP_NUM_THREADS=2: beyond its quota the container is halted"


def test_many_processors_ask_for_pinning(files: MachineFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(files, "pinning").found == "not pinned: may run on 4 processors"
    use(monkeypatch, 64)
    assert found(files, "pinning").status == "warn"
    monkeypatch.setattr(settings.pin, "pinned", lambda: "0-63")
    assert found(files, "pinning") == Check("pinning", "ok", "pinned to 0-63")
    monkeypatch.setattr(settings.pin, "pinned", lambda: None)
    use(monkeypatch, 2)
    for node in range(2):
        files.write(f"sys/devices/system/node/node{node}/cpulist", str(node))
    one = found(files, "pinning")
    assert (one.status, one.found) == ("warn", "not pinned: may run on 2 processors of 2 memory nodes")
    use(monkeypatch, 1)
    assert found(files, "pinning") == Check("pinning", "ok", "only one processor to run on")


@pytest.mark.parametrize(("online", "names"), [("0", ["power"]), ("1", [])])
def test_a_machine_on_battery_is_told(files: MachineFiles, online: str, names: list[str]) -> None:
    files.write("sys/class/power_supply/BAT0/type", "Battery")
    files.write("sys/class/power_supply/AC/type", "Mains")
    files.write("sys/class/power_supply/AC/online", online)
    assert [one.name for one in settings.settings(4, files.root) if one.name == "power"] == names


QUIET = Observation(
    Steadiness((10 * MS,) * 100),
    Noise(1.0, 100, steal_share=0.0, others_share=0.01, load=0.5, throttled=False),
    (),
    4,
)


def happened(files: MachineFiles, observation: Observation) -> dict[str, Check]:
    return {one.name: one for one in activity(observation, files.root)}


def test_a_quiet_machine_passes(files: MachineFiles) -> None:
    files.write("proc/meminfo", "MemTotal: 1000 kB\nSwapTotal: 100 kB\nSwapFree: 100 kB")
    files.core(0, "thermal_throttle/core_throttle_count", 0)
    checks = happened(files, QUIET)
    assert {one.status for one in checks.values()} == {"ok"}
    assert checks["steadiness"].found == "a fixed work of 10.0 ms took 1.00 times as long in its slowest tenth"
    assert checks["other processes"].found == "1.0 % of all cores"


def test_an_unsteady_machine_is_told(files: MachineFiles) -> None:
    one = happened(files, replace(QUIET, steady=Steadiness((16 * MS,) * 80 + (24 * MS,) * 20)))["steadiness"]
    assert (one.status, one.found) == ("warn", "a fixed work of 16.0 ms took 1.50 times as long in its slowest tenth")


def test_the_busiest_processes_are_named(files: MachineFiles) -> None:
    processes = (Process(12, "cc1plus", 0.98), Process(4, "dockerd", 0.4), Process(5, "x", 0.2), Process(6, "y", 0.1))
    noisy = replace(QUIET, noise=replace(QUIET.noise, others_share=0.42), processes=processes)
    one = happened(files, noisy)["other processes"]
    assert one.status == "warn"
    assert (
        one.found == "42 % of all cores: cc1plus (12) 98 % of a core, dockerd (4) 40 % of a core, x (5) 20 % of a core"
    )
    hidden = happened(files, replace(noisy, processes=()))["other processes"]
    assert hidden.found == "42 % of all cores, by processes that are not visible from here"


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"steal_share": 0.03}, "steal", "the hypervisor withheld 3.0 % of the time"),
        ({"load": 1e6}, "load", f"1000000.00 in the last minute, on {os.cpu_count()} processors"),
        ({"throttled": True}, "throttling", "the clock was lowered for heat during the check"),
    ],
)
def test_what_the_system_counts_is_told(files: MachineFiles, changes: dict[str, Any], name: str, words: str) -> None:
    one = happened(files, replace(QUIET, noise=replace(QUIET.noise, **changes)))[name]
    assert (one.status, one.found) == ("warn", words)
    assert one.advice


def test_what_the_system_does_not_count_is_unknown(files: MachineFiles) -> None:
    checks = happened(files, replace(QUIET, noise=Noise(1.0, 100)))
    unknown = {name for name, one in checks.items() if one.status == "unknown"}
    assert unknown == {"other processes", "steal", "load", "swap", "throttling"}


def test_earlier_throttling_is_told(files: MachineFiles) -> None:
    for core, count in enumerate((0, 7, 1005)):
        files.core(core, "thermal_throttle/core_throttle_count", count)
    one = happened(files, QUIET)["throttling"]
    assert (one.status, one.found) == ("warn", "1,012 times for heat since boot")


def test_swapping_is_worse_than_having_swapped(files: MachineFiles) -> None:
    files.write("proc/meminfo", "MemTotal: 1048576 kB\nSwapTotal: 524288 kB\nSwapFree: 514288 kB")
    assert happened(files, QUIET)["swap"].status == "ok"  # less than a hundredth of the memory
    files.write("proc/meminfo", "MemTotal: 1048576 kB\nSwapTotal: 524288 kB\nSwapFree: 262144 kB")
    assert happened(files, QUIET)["swap"].found == "256 MiB of memory is swapped out"
    assert happened(files, replace(QUIET, swapped_pages=1500))["swap"].found == "1,500 pages swapped during the check"


class Card:
    """Stands for pynvml."""

    NVML_CLOCK_SM = 1

    class NVMLError(Exception):
        pass

    def __init__(self, reasons: int = 0, persistence: int = 1, pids: tuple[int, ...] = ()) -> None:
        self.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: reasons
        self.nvmlDeviceGetPersistenceMode = lambda handle: persistence
        self.nvmlDeviceGetClockInfo = lambda handle, kind: 1410
        self.nvmlDeviceGetMaxClockInfo = lambda handle, kind: 1980
        self.nvmlDeviceGetComputeRunningProcesses = lambda handle: [SimpleNamespace(pid=pid) for pid in pids]


def test_a_cards_driver_is_asked() -> None:
    (one,) = gpu_checks(Nvml(Card(), "card"))
    assert (one.name, one.found) == ("GPU clock", "1410 MHz now, up to 1980 MHz; the driver hides locks")
    assert one.advice == "lock it below its boost: sudo nvidia-smi -lgc 1584"
    hot = list(gpu_checks(Nvml(Card(0x20, 0, (os.getpid(), 77)), "card")))
    assert [(one.name, one.status) for one in hot] == [
        ("GPU persistence", "warn"),
        ("GPU clock", "warn"),
        ("GPU processes", "warn"),
    ]
    assert hot[2].found == "also used by 77"


def test_a_card_whose_driver_cannot_be_asked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(Nvml, "of", classmethod(lambda cls, device: None))
    (one,) = checking._gpu()
    assert (one.status, one.advice) == ("unknown", "pip install nvidia-ml-py")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(checking._gpu()) == []


def test_processes_are_read_whatever_they_are_called(files: MachineFiles) -> None:
    files.process(7, "a) S 5 (b", 100, 20, started=55)
    files.process(os.getpid(), "this", 500, 0, started=60)
    files.write("proc/8/stat", "")
    files.write("proc/stat", "cpu")
    assert processor_ticks(files.root) == {7: Usage("a) S 5 (b", 55, 120)}


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (Usage("same", 55, 120 + TICKS_A_SECOND), [Process(7, "same", 0.5)]),
        (Usage("renamed", 55, 120 + TICKS_A_SECOND), [Process(7, "renamed", 0.5)]),  # a kernel's worker does that
        (Usage("other", 99, 3 * TICKS_A_SECOND), [Process(7, "other", 1.5)]),  # the number has passed on
        (Usage("same", 55, 121), []),
    ],
)
def test_a_process_has_used_what_it_has_used_since(now: Usage, found: list[Process]) -> None:
    assert busiest({7: Usage("same", 55, 120)}, {7: now}, 2.0) == found


def test_the_busiest_comes_first() -> None:
    after = {3: Usage("a", 1, TICKS_A_SECOND), 9: Usage("new", 2, 3 * TICKS_A_SECOND), 4: Usage("idle", 1, 0)}
    assert busiest({3: Usage("a", 1, 0)}, after, 2.0) == [Process(9, "new", 1.5), Process(3, "a", 0.5)]


def test_the_work_is_timed_for_so_long(clock: Any) -> None:
    steady = steadiness(clock.work([50 * MS, *range(10 * MS, 30 * MS, MS)]), HostStopwatch(clock), 0.1)
    assert steady.readings == tuple(range(10 * MS, 18 * MS, MS))  # the first call isn't counted
    assert steady.hits == (0,) * 8
    assert steadiness(clock.work([50 * MS]), HostStopwatch(clock), 1e-9).readings == (50 * MS,) * 2


def test_the_slowest_tenth_is_set_against_the_fastest() -> None:
    assert Steadiness((10,) * 89 + (17,) * 11).spread == 1.7
    assert Steadiness((10,) * 95 + (17,) * 5).spread == pytest.approx(1.0, abs=0.05)


def test_the_detectable_difference_is_that_of_the_pairs_brought_to_the_budget() -> None:
    readings = tuple(round(10 * MS * (1 + 0.01 * math.sin(7.3 * index))) for index in range(400))
    steady = Steadiness(readings)
    logs = [math.log(readings[index + 1] / readings[index]) for index in range(0, 400, 2)]
    elapsed = sum(readings) * 1e-9
    here = steady.detectable(0.01, elapsed)
    # The signs are drawn anew, which changes the interval of so many pairs little.
    assert here == pytest.approx(math.expm1(detectable(logs)), rel=0.1)
    assert steady.detectable(0.01, elapsed * 9) == pytest.approx((here or 0) / 3, rel=0.01)
    assert steady.detectable(0.1, elapsed) is not None
    assert steady.blocks(0.1) == 10
    assert steady.detectable(0.25, elapsed) is None  # eight pairs


def test_a_pattern_in_step_with_the_pairs_is_not_taken_for_precision() -> None:
    readings = [10 * MS + round((index % 2) * MS * (1 + 0.1 * math.sin(index))) for index in range(200)]
    least = Steadiness(tuple(readings)).detectable(0.01, sum(readings) * 1e-9)
    # The second of each pair takes a tenth longer: in this order the pairs scatter less than they do in a random one.
    in_step = detectable([math.log(readings[index + 1] / readings[index]) for index in range(0, 200, 2)])
    assert least is not None
    assert least > 2 * in_step


def test_the_checked_is_a_sentence_and_a_document() -> None:
    steady = Steadiness(tuple(round(12 * MS * (1 + 0.01 * math.sin(7.3 * index))) for index in range(400)))
    observation = replace(QUIET, steady=steady, processes=(Process(1, "x", 0.5),))
    checked = MachineCheck((Check("steal", "ok", "none"),), observation, expected(steady))
    steps = [step for step, _ in checked.expected]
    assert steps == [pytest.approx(0.012, rel=0.01), pytest.approx(0.096, rel=0.01)]
    assert str(checked).startswith("At this steadiness, 30 s of pyprof.compare should show a difference of about 0.0")
    data = json.loads(json.dumps(checked.to_json(), allow_nan=False))
    assert data["checks"] == [{"name": "steal", "status": "ok", "found": "none", "advice": None}]
    assert data["expected"][0]["difference"] == checked.expected[0][1]
    assert data["summary"] == str(checked)
    assert len(data["yardstick"]["readings_ns"]) == 400
    short = replace(checked, expected=expected(Steadiness((10 * MS,) * 5)))
    assert "give it more --seconds" in str(short)


def test_a_long_yardstick_gives_one_length_of_step() -> None:
    assert len(expected(Steadiness((150 * MS,) * 100))) == 1


def test_this_machine_is_checked() -> None:
    checked = checking.check(0.2)
    names = [one.name for one in checked.checks]
    assert len(set(names)) == len(names) >= 10
    assert checked.observation.steady.readings
    assert pin.pinned() is None or "pinned" in str(checked.checks)

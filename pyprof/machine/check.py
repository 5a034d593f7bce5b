"""How quiet a machine is, and what to change before measuring on it: the checks behind `pyprof env --check`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyprof.device.cuda import CudaDevice
from pyprof.device.nvml import Nvml
from pyprof.machine.processes import Process, busiest, processor_ticks
from pyprof.machine.settings import NOT_REPORTED, Check, CheckStatus, not_reported, of_cores, read, settings
from pyprof.machine.steadiness import Steadiness, steadiness
from pyprof.quantity import format_bytes, format_seconds
from pyprof.records.noise import HIT_SHARE, Noise
from pyprof.timing.clock import HostStopwatch
from pyprof.timing.cores import ROOT
from pyprof.timing.watch import Watch

# A comparison as long as `pyprof.compare` takes at most unless told otherwise, and the lengths of its steps.
BUDGET_SECONDS = 30.0
STEP_SECONDS = (0.01, 0.1)
# A check warns beyond these shares, which are a matter of judgement.
_UNSTEADY = 1.05
_BUSY_SHARE = 0.05
_LOAD_SHARE = 0.25
_SWAP_SHARE = 0.01
_SHOWN = 3


@dataclass(frozen=True)
class Observation:
    """What was observed while the yardstick ran for a few seconds with `threads` threads."""

    steady: Steadiness
    noise: Noise
    processes: tuple[Process, ...]
    threads: int
    swapped_pages: int = 0


@dataclass(frozen=True)
class MachineCheck:
    """All checks, and what a comparison can expect: pairs of a step's seconds and the smallest difference, if known."""

    checks: tuple[Check, ...]
    observation: Observation
    expected: tuple[tuple[float, float | None], ...]

    def __str__(self) -> str:
        """How small a difference this machine can be expected to show, as a sentence."""
        known = [(step, least) for step, least in self.expected if least is not None]
        if not known:
            return (
                "The fixed work ran too few times to tell how small a difference can be shown: give it more --seconds."
            )
        differences = ", and of ".join(
            f"{_percent(least)} between steps of {format_seconds(step)}" for step, least in known
        )
        budget = f"{BUDGET_SECONDS:.0f} s of pyprof.compare"
        return f"At this steadiness, {budget} should show a difference of about {differences}."

    def to_json(self) -> dict[str, Any]:
        """A JSON object; times in seconds, differences as a share."""
        return {
            "checks": [asdict(check) for check in self.checks],
            "yardstick": {
                "readings_ns": list(self.observation.steady.readings),
                "hits": list(self.observation.steady.hits),
                "spread": self.observation.steady.spread,
            },
            "noise": self.observation.noise.to_json(),
            "processes": [asdict(process) for process in self.observation.processes],
            "expected": [
                {"step_seconds": step, "budget_seconds": BUDGET_SECONDS, "difference": least}
                for step, least in self.expected
            ],
            "summary": str(self),
        }


def check(seconds: float, root: Path = ROOT) -> MachineCheck:
    """Check the machine, with a yardstick running for so many seconds; loads torch."""
    observation = _observe(seconds, root)
    checks = (*settings(observation.threads, root), *activity(observation, root), *_gpu())
    return MachineCheck(checks, observation, expected(observation.steady))


def _gpu() -> Iterator[Check]:
    """Of the current CUDA device, if there is one."""
    card = CudaDevice()
    if card.available() is not None:
        return
    if card.nvml is None:
        found = "nvidia-ml-py is not installed, or does not know the card"
        yield Check("GPU", "unknown", found, "pip install nvidia-ml-py")
    else:
        yield from gpu_checks(card.nvml)


def expected(steady: Steadiness) -> tuple[tuple[float, float | None], ...]:
    """The smallest differences that a comparison can expect to show, for steps of several lengths."""
    counts = dict.fromkeys(steady.blocks(step) for step in STEP_SECONDS)
    steps = [count * steady.typical_seconds for count in counts]
    return tuple((step, steady.detectable(step, BUDGET_SECONDS)) for step in steps)


def _observe(seconds: float, root: Path) -> Observation:
    import torch

    from pyprof.timing.yardstick import Yardstick

    yardstick, before, swapped = Yardstick(), processor_ticks(root), _swapped(root)
    with Watch(root=root) as watch:
        steady = steadiness(yardstick, HostStopwatch(), seconds, watch)
        noise = watch.noise()
    processes = busiest(before, processor_ticks(root), noise.seconds)
    return Observation(steady, noise, tuple(processes), torch.get_num_threads(), _swapped(root) - swapped)


def activity(observation: Observation, root: Path = ROOT) -> Iterator[Check]:
    """What happened on the machine while the yardstick ran."""
    yield _speed(observation.steady)
    yield _others(observation)
    yield _steal(observation.noise)
    yield _load(observation.noise)
    yield _swap(observation.swapped_pages, root)
    yield _throttling(observation.noise, root)


def _speed(steady: Steadiness) -> Check:
    found = (
        f"a fixed work of {format_seconds(min(steady.readings) * 1e-9)} took {steady.spread:.2f} times as long in its "
        "slowest tenth"
    )
    if steady.spread <= _UNSTEADY:
        return Check("steadiness", "ok", found)
    advice = "compare within one run (pyprof.compare, one study), not figures of two runs; or use a dedicated machine"
    return Check("steadiness", "warn", found, advice)


def _others(observation: Observation) -> Check:
    name, share = "other processes", observation.noise.others_share
    if share is None:
        return Check(name, "unknown", NOT_REPORTED)
    shown = [
        f"{process.name} ({process.pid}) {_percent(process.share)} of a core"
        for process in observation.processes[:_SHOWN]
    ]
    found = f"{_percent(share)} of all cores" + (f": {', '.join(shown)}" if shown else "")
    if share <= _BUSY_SHARE:
        return Check(name, "ok", found)
    if not shown:
        return Check(
            name, "warn", f"{found}, by processes that are not visible from here", "ask who shares the machine"
        )
    return Check(name, "warn", found, "stop them, or wait; where some cores are idle, --pin auto")


def _steal(noise: Noise) -> Check:
    if noise.steal_share is None:
        return Check("steal", "unknown", NOT_REPORTED)
    found = f"the hypervisor withheld {_percent(noise.steal_share)} of the time"
    if noise.steal_share <= HIT_SHARE:
        return Check("steal", "ok", found)
    return Check("steal", "warn", found, "dedicated processors, or another time of day")


def _load(noise: Noise) -> Check:
    if noise.load is None:
        return Check("load", "unknown", NOT_REPORTED)
    # The load counts the whole machine's processes, and one of them is this check.
    cores = os.cpu_count() or 1
    found = f"{noise.load:.2f} in the last minute, on {cores} processors"
    status: CheckStatus = "warn" if noise.load > 1 + _LOAD_SHARE * cores else "ok"
    return Check("load", status, found, "wait until it has fallen" if status == "warn" else None)


def _swap(pages: int, root: Path) -> Check:
    text = read(root / "proc/meminfo")
    sizes = {match[1]: int(match[2]) * 1024 for match in re.finditer(r"(?m)^(\w+):\s+(\d+) kB", text)}
    if "SwapTotal" not in sizes or "SwapFree" not in sizes:
        return Check("swap", "unknown", NOT_REPORTED)
    used = sizes["SwapTotal"] - sizes["SwapFree"]
    if pages:
        return Check("swap", "warn", f"{pages:,} pages swapped during the check", "free memory: close what holds it")
    if used > _SWAP_SHARE * sizes.get("MemTotal", 0):
        advice = "free memory, then sudo swapoff -a && sudo swapon -a"
        return Check("swap", "warn", f"{format_bytes(used)} of memory is swapped out", advice)
    return Check("swap", "ok", "not in use" if sizes["SwapTotal"] else "none")


def _throttling(noise: Noise, root: Path) -> Check:
    counts = [int(text) for text in of_cores(root, "thermal_throttle/core_throttle_count") if text.isdigit()]
    name, advice = "throttling", "better cooling, or a lower fixed clock: sudo cpupower frequency-set -u FREQUENCY"
    if noise.throttled:
        return Check(name, "warn", "the clock was lowered for heat during the check", advice)
    if not counts:
        return Check(name, "unknown", not_reported(root))
    if any(counts):
        return Check(name, "warn", f"{sum(counts):,} times for heat since boot", advice)
    return Check(name, "ok", "never since boot")


def gpu_checks(nvml: Nvml) -> Iterator[Check]:
    """What a card's driver reports."""
    if nvml.persistent() is False:
        yield Check("GPU persistence", "warn", "off: the driver starts anew each time", "sudo nvidia-smi -pm 1")
    low, high = nvml.clock_mhz(), nvml.highest_clock_mhz()
    if nvml.throttled():
        yield Check("GPU clock", "warn", "lowered for heat or power now", "sudo nvidia-smi -lgc MHZ with a lower one")
    elif low is not None and high is not None:
        advice = f"lock it below its boost: sudo nvidia-smi -lgc {round(0.8 * high)}"
        yield Check("GPU clock", "unknown", f"{low} MHz now, up to {high} MHz; the driver hides locks", advice)
    others = nvml.others()
    if others:
        yield Check("GPU processes", "warn", f"also used by {', '.join(map(str, others))}", "stop or wait for them")


def _swapped(root: Path) -> int:
    text = read(root / "proc/vmstat")
    return sum(int(match[1]) for match in re.finditer(r"(?m)^pswp(?:in|out) (\d+)$", text))


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.0995 else 1 if share >= 0.00995 else 2}f} %"

"""The energy of a step by NVML's counter, against its power integrated by another process that knows nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness import Bar, Figures, note, parser, publish

from pyprof import device as devices
from pyprof.device.energy import measure_energy
from pyprof.errors import PyprofError

METHOD = """\
A product of two square matrices in bfloat16 is repeated for some seconds, and pyprof measures its energy: the counter
between two of its ticks, less what the idle card takes. Meanwhile another process asks NVML for the card's power as
often as it can, and notes when (one clock for both, since they share a machine). Its readings within the same seconds
are summed up by trapezoids; those before them, with the card idle, are taken off.

On many cards NVML's power is itself an average over some time (up to a second), so each end of the window blurs: with
--seconds 20 that is a small part of it.
"""
_DTYPE = "bfloat16"


@dataclass(frozen=True)
class Power:
    """Readings of the card's power: (seconds, watts)."""

    readings: Sequence[tuple[float, float]]

    def joules(self, begin: float, end: float) -> float:
        """The integral between two moments, by trapezoids."""
        inside = [each for each in self.readings if begin <= each[0] <= end]
        if len(inside) < 2:
            raise PyprofError("NVML told the power too seldom: choose more --seconds")
        area = sum((b - a) * (p + q) / 2 for (a, p), (b, q) in pairwise(inside))
        return area * (end - begin) / (inside[-1][0] - inside[0][0])


def poll(uuid: str) -> int:
    """Ask for the power until standard input ends; then print all readings as JSON."""
    import select

    import pynvml

    pynvml.nvmlInit()
    card = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    readings = []
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        readings.append((time.monotonic(), pynvml.nvmlDeviceGetPowerUsage(card) * 1e-3))
    print(json.dumps(readings))
    return 0


def measure(name: str, size: int, seconds: float) -> tuple[float, float, int]:
    """Joules of one product beyond those of the idle card: by the counter, by the power, and the products made."""
    import torch

    device = devices.usable(name)
    meter = device.energy_meter()
    left, right = (torch.rand(size, size, device=name).to(getattr(torch, _DTYPE)) for _ in range(2))
    uuid = str(torch.cuda.get_device_properties(name).uuid)
    child = subprocess.Popen(
        [sys.executable, __file__, "--poll", uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    made: list[tuple[float, float]] = []

    def call() -> None:
        begin = time.monotonic()
        torch.mm(left, right)
        device.synchronize()
        made.append((begin, time.monotonic()))

    call()
    device.synchronize()
    made.clear()
    time.sleep(2.0)  # the power that NVML tells comes down
    idle_begin = time.monotonic()
    found = measure_energy(meter, call, window=seconds, idle=2.0, clock=time.monotonic)
    power = Power(json.loads(child.communicate("end\n", timeout=30)[0]))
    # The first call comes after the idle seconds; a second of each end is left to NVML's own average.
    begin, end = made[0][0] + 1.0, made[-1][1]
    idle = power.joules(idle_begin, made[0][0] - 0.1) / (made[0][0] - 0.1 - idle_begin)
    watts = power.joules(begin, end) / (end - begin)
    return found.joules, (watts - idle) * found.seconds, found.calls


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--device", default="cuda", help="default: cuda")
    options.add_argument("--size", type=int, default=8192, help="side of the matrices (default: 8192)")
    options.add_argument("--seconds", type=float, default=20.0, help="default: 20")
    options.add_argument("--poll", metavar="UUID", help="ask NVML for the power of a card until standard input ends")
    chosen = options.parse_args()
    if chosen.poll:
        return poll(chosen.poll)
    try:
        counted, integrated, calls = measure(chosen.device, chosen.size, chosen.seconds)
    except PyprofError as error:
        note(str(error))
        return int(error.exit_code)
    rows = [("NVML's counter, as pyprof reads it", counted, calls), ("NVML's power, integrated", integrated, calls)]
    tables = [Figures(f"one product of {chosen.size:,} x {chosen.size:,}", ("by", "J", "products"), rows)]
    off = 100 * abs(counted / integrated - 1)
    return publish(METHOD, tables, [Bar("energy against the integrated power", off, "%", 3.0)], chosen.json)


if __name__ == "__main__":
    sys.exit(main())

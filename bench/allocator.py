"""What a step pays for being handed memory: page faults and system time, as the process is and with memory kept."""

from __future__ import annotations

import json
import mmap
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from harness import Bar, Figures, note, parser, publish

from pyprof.models import registry

METHOD = """\
Each workload is one inference step at batch 1, and each process measures one workload: a step to warm up, then some
steps, of which the one counts that took the processor least. Around each the system is asked for the wall time, the
minor page faults, and the processor's seconds in user and in system mode, of all threads together (getrusage); the
shares are of the latter. Processes of the allocators are started in turn, so that a machine that changes its speed
changes it for all. "keep" tells the C library to map nothing of its own for large requests and to give nothing back
(GLIBC_TUNABLES); other allocators are preloaded where --preload names their libraries.

The price of a fault comes from anonymous memory of 256 MiB that is mapped, touched once in every page, touched again,
and unmapped: the difference of the two passes, and the unmapping, in processor time over the faults that were counted.
"""
KEEP = "glibc.malloc.mmap_threshold=4294967295:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"
PAGE = mmap.PAGESIZE
TOUCHED_BYTES = 2**28


@dataclass(frozen=True)
class Workload:
    """A model at a length with an attention implementation."""

    model: str
    attention: str
    length: int

    def __str__(self) -> str:
        return f"{self.model} ({self.attention}) at {self.length}"


WORKLOADS = (
    Workload("bert", "eager", 512),
    Workload("bert", "eager", 1536),
    Workload("longformer", "eager", 1536),
    Workload("bert", "sdpa", 1536),
)


@dataclass(frozen=True)
class StepCost:
    """What one step took: seconds of wall time, minor faults, and the processor's seconds by mode."""

    seconds: float
    faults: int
    system_seconds: float
    user_seconds: float

    @property
    def processor_seconds(self) -> float:
        """What other processes hardly change, unlike the wall time."""
        return self.system_seconds + self.user_seconds


def measure(workload: Workload, steps: int, threads: int) -> StepCost:
    """The cheapest of some steps, in this process."""
    import torch

    from pyprof.worker.profile_model import step_of

    torch.set_num_threads(threads)
    loaded = registry.load(
        workload.model, attention=workload.attention, mode="infer", longest=max(512, workload.length)
    )
    step = step_of(loaded, workload.length, 1)
    step()
    costs = []
    for _ in range(steps):
        before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        step()
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
        costs.append(
            StepCost(
                seconds,
                after.ru_minflt - before.ru_minflt,
                after.ru_stime - before.ru_stime,
                after.ru_utime - before.ru_utime,
            )
        )
    return min(costs, key=lambda cost: cost.processor_seconds)


def measure_elsewhere(workload: Workload, allocator: dict[str, str], steps: int, threads: int) -> StepCost:
    """The same in a process of its own, started with these variables in its environment."""
    child = [sys.executable, __file__, "--child", json.dumps(asdict(workload))]
    child += ["--steps", str(steps), "--threads", str(threads)]
    done = subprocess.run(child, env=os.environ | allocator, stdout=subprocess.PIPE, check=True, text=True)
    return StepCost(**json.loads(done.stdout.splitlines()[-1]))


def fault_prices(readings: int = 5) -> tuple[float, float]:
    """Processor seconds of a page's first touch and of giving it back: the least of some readings."""
    touches, returns = [], []
    for _ in range(readings):
        memory = mmap.mmap(-1, TOUCHED_BYTES)
        pages = np.frombuffer(memory, dtype=np.uint8)[::PAGE]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        first, again = _touch(pages), _touch(pages)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        del pages  # the memory cannot be unmapped while an array looks at it
        begin = time.thread_time()
        memory.close()
        returns.append((time.thread_time() - begin) / faults)
        touches.append((first - again) / faults)
    return min(touches), min(returns)


def _touch(pages: np.ndarray) -> float:
    begin = time.thread_time()
    pages[:] = 1
    return time.thread_time() - begin


def cheapest(
    workloads: Sequence[Workload], allocators: dict[str, dict[str, str]], rounds: int, steps: int, threads: int
) -> Iterator[tuple[Workload, str, StepCost]]:
    """Of each workload with each allocator the cheapest step of all rounds."""
    for workload in workloads:
        costs: dict[str, list[StepCost]] = {name: [] for name in allocators}
        for _ in range(rounds):
            for name, variables in allocators.items():
                costs[name].append(measure_elsewhere(workload, variables, steps, threads))
                note(f"{workload}, {name}: {costs[name][-1]}")
        for name, taken in costs.items():
            yield workload, name, min(taken, key=lambda cost: cost.processor_seconds)


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--rounds", type=int, default=2, help="processes of each kind (default: 2)")
    options.add_argument("--steps", type=int, default=3, help="steps in each process (default: 3)")
    options.add_argument("--threads", type=int, default=2, help="threads of PyTorch (default: 2)")
    options.add_argument(
        "--preload", action="append", default=[], metavar="LIBRARY", help="another allocator's library"
    )
    options.add_argument("--only", default="", help="only the workloads that hold this text")
    options.add_argument("--child", help="a workload to measure in this process, as JSON")
    chosen = options.parse_args()
    if chosen.child:
        print(json.dumps(asdict(measure(Workload(**json.loads(chosen.child)), chosen.steps, chosen.threads))))
        return 0
    touch, give_back = fault_prices()
    prices = Figures("one page", ("what", "us"), [("first touch", touch * 1e6), ("giving it back", give_back * 1e6)])
    allocators: dict[str, dict[str, str]] = {"default": {}, "keep": {"GLIBC_TUNABLES": KEEP}}
    allocators |= {Path(library).name.partition(".")[0]: {"LD_PRELOAD": library} for library in chosen.preload}
    workloads = [workload for workload in WORKLOADS if chosen.only in str(workload)]
    if not workloads:
        options.error(f"no workload holds {chosen.only!r}: {', '.join(map(str, WORKLOADS))}")
    rows, left = [], []
    for workload, allocator, cost in cheapest(workloads, allocators, chosen.rounds, chosen.steps, chosen.threads):
        if allocator == "default":
            default = cost
        elif allocator == "keep":
            left.append(100 * cost.faults / max(default.faults, 1))
        paid = 100 * cost.faults * (touch + give_back) / cost.processor_seconds
        saved = 100 * (1 - cost.processor_seconds / default.processor_seconds)
        mode = (cost.system_seconds, cost.user_seconds)
        rows.append((str(workload), allocator, cost.seconds, cost.faults, *mode, paid, saved))
    columns = (
        "workload",
        "allocator",
        "s",
        "minor faults",
        "system, s",
        "user, s",
        "faults at their price, %",
        "saved, %",
    )
    bars = [Bar("faults of a step that are left with memory kept, the worst workload", max(left), "%", 5.0)]
    return publish(METHOD, [prices, Figures("one step", columns, rows)], bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())

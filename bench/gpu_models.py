"""On a GPU: steps and kernels of the seven models against other measurements, and what a profile does in misfortune."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from harness import TYPICAL, note, parser

from pyprof import device as devices
from pyprof.errors import PyprofError
from pyprof.failures import Failure, attempt
from pyprof.layers.profile import Profile
from pyprof.models import registry
from pyprof.models.loaded import LoadedModel
from pyprof.statistics.ranks import signed_rank
from pyprof.timing.clock import time_calls
from pyprof.timing.interleave import exponential
from pyprof.worker.profile_model import profile_model, step_of

METHOD = """\
Steps: for each model and mode, rounds of a short profile and of steps that nothing looks at; the ratio of the step that
the profile reports to the median of these steps, by the Hodges-Lehmann estimate over the rounds. Kernels: kernel time
of each layer's forward, and of the whole backward, by the last of these profiles and by torch.profiler with a
record_function range around each layer; layers below 50 us are left out. torch.profiler comes after all profiles, since
it keeps CUPTI once it was used. Misfortunes: a capture under probes, a profile while torch.profiler has CUPTI, and a
device that fails, each in a process of its own. Models are in the dtype that is usual on the device, under autocast
where they cannot be. What fails is a row with its reason, and the others go on; so does what no time is left for.
"""
# A block of plain steps takes about BLOCK_SECONDS; STEPS_SHARE of the time is for the steps, the rest for the kernels.
ROUNDS, MOST_PLAIN_STEPS, BLOCK_SECONDS, PROFILE_SECONDS = 6, 8, 0.15, 0.25
LEAST_SECONDS, STEPS_SHARE, MISFORTUNE_SECONDS = 50e-6, 0.65, 60
Row = dict[str, Any]


@dataclass(frozen=True)
class Profiled:
    """A model of which steps were compared, and the last profile of them."""

    loaded: LoadedModel
    length: int
    profile: Profile


def load(model: str, mode: str, device: str, size: str) -> LoadedModel:
    """The model in the dtype that is usual on the device, under autocast where it needs that."""
    dtype, length = registry.usual_dtype([model], devices.of(device).usual_dtype), TYPICAL[model]
    loaded = registry.load(model, size=size, attention="best", mode=mode, longest=length, dtype=dtype, device=device)
    loaded.fit(length)
    return loaded


def step_row(model: str, mode: str, batch: int, device: str, size: str) -> tuple[Row, Profiled]:
    """The ratio of a profile's step to steps that nothing looks at, and the last of the profiles."""
    length, loaded = TYPICAL[model], load(model, mode, device, size)
    step, stopwatch = step_of(loaded, length, batch), devices.of(device).stopwatch()

    def plain(count: int) -> float:
        samples = []
        for _ in range(count):
            loaded.step.zero_grad(set_to_none=True)
            samples.append(time_calls(stopwatch, step))
        return median(samples) * 1e-9

    count = max(2, min(MOST_PLAIN_STEPS, int(BLOCK_SECONDS / plain(3))))
    logarithms = []
    for _ in range(ROUNDS):
        before = plain(count)
        profile = profile_model(loaded, length, batch, PROFILE_SECONDS)
        assert profile.plain is not None
        logarithms.append(profile.plain.step.value / median((before, plain(count))))
    loaded.step.zero_grad(set_to_none=True)  # many models are kept until their kernels' turn
    ratio = exponential(signed_rank(np.log(np.array(logarithms))))
    row = {"ratio": {"value": ratio.value, "low": ratio.low, "high": ratio.high}}
    return row, Profiled(loaded, length, profile)


def kernels_row(profiled: Profiled, batch: int) -> tuple[Row, Profiled]:
    """Kernel times of the layers by our profile beside those of torch.profiler, and the profile."""
    device_time, loaded = profiled.profile.device_time, profiled.loaded
    if device_time is None:
        raise PyprofError("; ".join(profiled.profile.notes) or "the device's work was not recorded")
    ours = {
        layer.path: work.forward.kernel_seconds
        for layer, work in zip(profiled.profile.layers, device_time.layers, strict=True)
    }
    total = device_time.total
    theirs, whole, count = by_torch_profiler(loaded, profiled.length, batch)
    compared = {path: (seconds, theirs.get(path, 0.0)) for path, seconds in ours.items() if seconds >= LEAST_SECONDS}
    if loaded.mode == "train":
        compared["(backward)"] = total.kernel_seconds - ours[""], whole - theirs.get("", 0.0)
    off = {path: abs(mine - other) / mine for path, (mine, other) in compared.items()}
    worst = max(off, key=lambda path: off[path], default=None)
    if worst is None:
        raise PyprofError(f"no layer takes {1e6 * LEAST_SECONDS:.0f} us")
    row = {"worst": off[worst], "layer": worst or "the model", "ours": total.kernels, "theirs": count}
    return row, profiled


def by_torch_profiler(loaded: LoadedModel, length: int, batch: int) -> tuple[dict[str, float], float, float]:
    """Kernel seconds of each layer's forward, of a step, and how many kernels a step has."""
    step, steps = step_of(loaded, length, batch), 5
    step()
    ranges: list[torch.profiler.record_function] = []

    def opened(path: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            ranges.append(torch.profiler.record_function(f"layer:{path}"))
            ranges[-1].__enter__()

        return hook

    def closed(*_: object) -> None:
        ranges.pop().__exit__(None, None, None)

    with ExitStack() as hooks:
        for path, layer in loaded.step.named_modules():
            hooks.callback(layer.register_forward_pre_hook(opened(path)).remove)
            hooks.callback(layer.register_forward_hook(closed).remove)
        with torch.profiler.profile() as profiler:
            for _ in range(steps):
                loaded.step.zero_grad(set_to_none=True)
                step()
            torch.cuda.synchronize()
    seconds: Counter[str] = Counter()
    whole, count = 0.0, 0
    for event in profiler.events():
        if event.name.startswith("layer:") and event.device_type == torch.autograd.DeviceType.CPU:
            seconds[event.name.removeprefix("layer:")] += kernel_microseconds(event) * 1e-6 / steps
        elif event.device_type == torch.autograd.DeviceType.CUDA and not event.name.startswith(("Mem", "layer:")):
            whole, count = whole + event.device_time * 1e-6 / steps, count + 1
    return dict(seconds), whole, count / steps


def kernel_microseconds(event: Any) -> float:
    """Of what was launched inside of an event of the host; copies and memsets are no kernels."""
    own = sum(kernel.duration for kernel in event.kernels if not kernel.name.startswith("Mem"))
    return own + sum(map(kernel_microseconds, event.cpu_children))


CAPTURE = """
with instrument(module) as probes:
    replay = probes.capture(lambda: module(value))
    for _ in range(3):
        probes.run_marked(replay)
        probes.hand_over()
device = probes.profile().device_time
assert device is not None and device.layers[0].forward.kernels > 0, probes.profile().notes
print("its layers have", device.layers[0].forward.kernels, "kernels")
"""
SECOND = """
with torch.profiler.profile():
    module(value)
    torch.cuda.synchronize()
    with instrument(module) as probes, probes.step():
        module(value)
(note,) = probes.profile().notes
assert "another profiler" in note, note
module(value)
torch.cuda.synchronize()
print(note)
"""
LOST = """
from pyprof.errors import PyprofError
def fail():
    with instrument(module) as probes, probes.step():
        torch.nn.functional.embedding(torch.tensor([99], device="cuda"), torch.ones(1, 8, device="cuda"))
    probes.profile()
try:
    fail()
except (PyprofError, RuntimeError) as error:
    print(str(error).splitlines()[0])
else:
    raise SystemExit("a device that failed was not told")
"""
BEGIN = """
import torch
from pyprof.layers.instrument import instrument
module = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU()).cuda()
value = torch.ones(64, 256, device="cuda")
module(value)
"""
MISFORTUNES = {"capture under probes": CAPTURE, "a second profiler": SECOND, "a lost device": LOST}


def misfortunes() -> Iterator[Row]:
    """What came of each, all of them at once."""
    running = {
        case: subprocess.Popen(
            [sys.executable, "-P", "-c", BEGIN + program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for case, program in MISFORTUNES.items()
    }
    end = time.monotonic() + MISFORTUNE_SECONDS
    for case, process in running.items():
        about = {"what": "misfortune", "case": case}
        try:
            printed, said = process.communicate(timeout=max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            yield {**about, "holds": False, "told": f"not done within {MISFORTUNE_SECONDS} s"}
            continue
        lines = (printed if process.returncode == 0 else said).strip().splitlines()
        told = lines[-1] if lines else f"exit code {process.returncode}"
        yield {**about, "holds": process.returncode == 0, "told": told}


def rows(device: str, size: str, batch: int, seconds: float) -> Iterator[Row]:
    """A row for everything, whatever fails; what no time is left for says so."""
    begin = time.monotonic()
    yield from misfortunes()
    every = [(model, mode) for model in TYPICAL for mode in ("infer", "train")]
    profiled: dict[tuple[str, str], Profiled | str] = {}
    for what in ("step", "kernels"):
        end = begin + seconds * (STEPS_SHARE if what == "step" else 1)
        for model, mode in every:
            about = {"what": what, "model": model, "mode": mode}
            before = profiled.get((model, mode))
            if isinstance(before, str):
                yield {**about, "reason": before}
                continue
            if time.monotonic() > end:
                profiled[model, mode] = "no time was left"
                yield {**about, "reason": "no time was left"}
                continue
            note(" ".join(about.values()))
            found = attempt(
                partial(kernels_row, before, batch) if before else partial(step_row, model, mode, batch, device, size)
            )
            if isinstance(found, Failure):
                profiled[model, mode] = found.reason
                yield {**about, "reason": found.reason}
            else:
                row, profiled[model, mode] = found
                yield {**about, **row}
            devices.of(device).release()


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--device", default="cuda")
    options.add_argument("--size", default="base", choices=("base", "tiny"))
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--seconds", type=float, default=120.0, help="after so long nothing new is begun")
    chosen = options.parse_args()
    found = list(rows(chosen.device, chosen.size, chosen.batch, chosen.seconds))
    print(json.dumps({"method": METHOD, "rows": found}, indent=1))
    return 0 if all(row.get("reason") is None for row in found) else 3


if __name__ == "__main__":
    sys.exit(main())

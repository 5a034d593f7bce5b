"""On a GPU: steps and kernels of the seven models against other measurements, and what a profile does in misfortune."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any

import numpy as np
import torch
from harness import TYPICAL, note, parser

from pyprof import device as devices
from pyprof.errors import PyprofError
from pyprof.failures import Failure, attempt
from pyprof.models import registry
from pyprof.models.loaded import LoadedModel
from pyprof.statistics.ranks import signed_rank
from pyprof.timing.clock import time_calls
from pyprof.timing.interleave import exponential
from pyprof.worker.profile_model import profile_model, step_of

METHOD = """\
Steps: for each model and mode, rounds of a short profile and of steps that nothing looks at; the ratio of the step that
the profile reports to the median of these steps, by the Hodges-Lehmann estimate over the rounds. Kernels: kernel time
of each layer's forward, and of the whole backward, by a profile of ours and by torch.profiler with a record_function
range around each layer, one after the other; layers below 50 us are left out. Misfortunes: a capture under probes, a
profile while torch.profiler has CUPTI, and a device that fails, each in a process of its own. What fails is a row with
its reason, and the others go on; so does what no time is left for.
"""
ROUNDS, PLAIN_STEPS, PROFILE_SECONDS, LEAST_SECONDS = 6, 8, 0.3, 50e-6
Row = dict[str, Any]


def load(model: str, mode: str, batch: int, device: str, size: str) -> tuple[LoadedModel, int]:
    length = TYPICAL[model]
    dtype = devices.of(device).usual_dtype
    loaded = registry.load(
        model,
        size=size,
        attention="best",
        mode=mode,
        longest=length,
        dtype=dtype,
        device=device,  # type: ignore[arg-type]
    )
    return loaded, length


def step_row(model: str, mode: str, batch: int, device: str, size: str) -> Row:
    loaded, length = load(model, mode, batch, device, size)
    step, stopwatch = step_of(loaded, length, batch), devices.of(device).stopwatch()

    def plain() -> float:
        samples = []
        for _ in range(PLAIN_STEPS):
            loaded.step.zero_grad(set_to_none=True)
            samples.append(time_calls(stopwatch, step))
        return median(samples) * 1e-9

    plain()
    logarithms = []
    for _ in range(ROUNDS):
        before = plain()
        profile = profile_model(loaded, length, batch, PROFILE_SECONDS)
        assert profile.plain is not None
        logarithms.append(profile.plain.step.value / median((before, plain())))
    ratio = exponential(signed_rank(np.log(np.array(logarithms))))
    return {"ratio": {"value": ratio.value, "low": ratio.low, "high": ratio.high}}


def kernels_row(model: str, mode: str, batch: int, device: str, size: str) -> Row:
    loaded, length = load(model, mode, batch, device, size)
    profile = profile_model(loaded, length, batch, PROFILE_SECONDS)
    if profile.device_time is None:
        raise PyprofError("; ".join(profile.notes) or "the device's work was not recorded")
    ours = {
        layer.path: work.forward.kernel_seconds
        for layer, work in zip(profile.layers, profile.device_time.layers, strict=True)
    }
    total = profile.device_time.total
    theirs, whole, count = by_torch_profiler(loaded, length, batch)
    compared = {path: (seconds, theirs.get(path, 0.0)) for path, seconds in ours.items() if seconds >= LEAST_SECONDS}
    if mode == "train":
        compared["(backward)"] = total.kernel_seconds - ours[""], whole - theirs.get("", 0.0)
    off = {path: abs(mine - other) / mine for path, (mine, other) in compared.items()}
    worst = max(off, key=lambda path: off[path])
    return {"worst": off[worst], "layer": worst or "the model", "ours": total.kernels, "theirs": count}


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
            seconds[event.name.removeprefix("layer:")] += event.device_time_total * 1e-6 / steps
        elif event.device_type == torch.autograd.DeviceType.CUDA and not event.name.startswith(("Mem", "layer:")):
            whole, count = whole + event.device_time * 1e-6 / steps, count + 1
    return dict(seconds), whole, count / steps


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


def misfortune(program: str) -> Row:
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True, timeout=60)
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return {"holds": done.returncode == 0, "told": said[-1] if said else f"exit code {done.returncode}"}


def rows(device: str, size: str, batch: int, end: float) -> Iterator[Row]:
    """A row for everything, whatever fails; what no time is left for says so."""

    def taken(about: Row, work: Callable[[], Row]) -> Row:
        if time.monotonic() > end:
            return {**about, "reason": "no time was left"}
        note(" ".join(map(str, about.values())))
        found = attempt(work)
        return {**about, "reason": found.reason} if isinstance(found, Failure) else {**about, **found}

    for case, program in MISFORTUNES.items():
        yield taken({"what": "misfortune", "case": case}, lambda program=program: misfortune(program))  # type: ignore[misc]
    for what, work in (("kernels", kernels_row), ("step", step_row)):
        for model in TYPICAL:
            for mode in ("infer", "train"):
                about = {"what": what, "model": model, "mode": mode}
                yield taken(about, lambda work=work, model=model, mode=mode: work(model, mode, batch, device, size))  # type: ignore[misc]
                devices.of(device).release()


def main() -> int:
    options = parser(METHOD)
    options.add_argument("--device", default="cuda")
    options.add_argument("--size", default="base", choices=("base", "tiny"))
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--seconds", type=float, default=120.0, help="after so long nothing new is begun")
    chosen = options.parse_args()
    found = list(rows(chosen.device, chosen.size, chosen.batch, time.monotonic() + chosen.seconds))
    print(json.dumps({"method": METHOD, "rows": found}, indent=1))
    return 0 if all(row.get("reason") is None for row in found) else 3


if __name__ == "__main__":
    sys.exit(main())

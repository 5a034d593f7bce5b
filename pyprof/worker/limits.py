"""The machine's part of a study: what was left to it, and how much memory the measuring process may take."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import torch

from pyprof import device as devices
from pyprof.indicators import registry
from pyprof.indicators.device_time import INDICATOR
from pyprof.machine.environment import current_environment
from pyprof.records.executor import Ready
from pyprof.records.study import Study

# What libraries take beside PyTorch's tensors, as a share of the budget and at least.
_MARGIN_SHARE = 0.1
_LEAST_MARGIN = 256 * 2**20
DEVICE_TIME = INDICATOR.name


def settle(study: Study) -> Ready:
    """Fill in the device, the number of threads and the memory budget, and set the threads of this process.

    The time of a device of its own is measured beside every latency; where there is none, only who names it asks.
    Raises UsageError for a device that is not there.
    """
    device = devices.automatic() if study.device == devices.AUTO else devices.usable(study.device)
    if study.threads is not None:
        torch.set_num_threads(study.threads)
    settled = replace(
        study,
        device=device.name,
        metrics=_metrics(study.metrics, device),
        threads=torch.get_num_threads(),
        memory_budget=study.memory_budget or device.memory_budget().bytes,
    )
    return Ready(settled, current_environment())


def _metrics(names: tuple[str, ...], device: devices.Device) -> tuple[str, ...]:
    if not device.has_own_time:
        return names or tuple(each.name for each in registry.chosen(()) if each.name != DEVICE_TIME)
    if "latency" in names and DEVICE_TIME not in names:
        return (*names, DEVICE_TIME)
    return names


def limit_memory(study: Study) -> None:
    """Let this process have no more host memory than the budget and a margin for libraries.

    Beyond that an allocation fails, which is an out-of-memory status, where otherwise the machine would begin to swap
    or kill. What the process holds already is not counted. A measurement on a device with memory of its own takes
    little of the host's, and a driver may reserve far more than it uses, so there is no limit then.
    """
    if study.memory_budget is None or not devices.of(study.device).limits_host_memory:
        return
    margin = max(_LEAST_MARGIN, int(study.memory_budget * _MARGIN_SHARE))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data_bytes() + study.memory_budget + margin
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _data_bytes() -> int:
    """The private memory that this process has mapped, as the limit counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0

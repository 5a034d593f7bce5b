"""NVIDIA's management library through nvidia-ml-py: how a card is set and whether it is throttled. For CUDA only."""

from __future__ import annotations

import os
from typing import Any, Self

from pyprof.errors import UsageError

# Reasons for a lower clock than the card could have, in NVML's bits: power cap, slowdown by hardware, heat (software's
# and hardware's limit), power brake. An idle card or a clock that its user has set is no throttling.
_THROTTLING = 0x04 | 0x08 | 0x20 | 0x40 | 0x80


class Nvml:
    """One card; `library` is the module pynvml, `handle` its name for the card."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    @classmethod
    def of(cls, device: Any) -> Self | None:
        """The card that a CUDA device of torch or its name stands for; None where NVML isn't there."""
        try:
            import pynvml
        except ImportError:
            return None
        import torch

        try:
            index = torch.device(str(device)).index
            index = torch.cuda.current_device() if index is None else index
            uuid = str(torch.cuda.get_device_properties(index).uuid)
            pynvml.nvmlInit()
            # By its identity, since CUDA_VISIBLE_DEVICES renumbers what torch sees and not what NVML does.
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"))
        except (pynvml.NVMLError, RuntimeError, AssertionError):
            return None

    def throttled(self) -> bool:
        """Whether the card's clock is held down by heat or power now; False where the driver doesn't tell."""
        return bool((self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0) & _THROTTLING)

    def joules(self) -> float | None:
        """The energy that the card has used since its driver was loaded; None where it doesn't tell."""
        millijoules: int | None = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules * 1e-3

    def persistent(self) -> bool | None:
        """Whether the driver stays loaded without a client; None where it doesn't tell."""
        mode = self._ask("nvmlDeviceGetPersistenceMode")
        return None if mode is None else bool(mode)

    def clock_mhz(self) -> int | None:
        """The clock of the multiprocessors now, in MHz; None where the driver doesn't tell."""
        clock: int | None = self._ask("nvmlDeviceGetClockInfo", self._library.NVML_CLOCK_SM)
        return clock

    def highest_clock_mhz(self) -> int | None:
        """The highest clock of the multiprocessors, in MHz; None where the driver doesn't tell."""
        clock: int | None = self._ask("nvmlDeviceGetMaxClockInfo", self._library.NVML_CLOCK_SM)
        return clock

    def others(self) -> list[int]:
        """The process ids of others that compute on the card."""
        found = self._ask("nvmlDeviceGetComputeRunningProcesses") or []
        return sorted(one.pid for one in found if one.pid != os.getpid())

    def _ask(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._library, function)(self._handle, *arguments)
        except self._library.NVMLError:
            return None


class CardEnergy:
    """The counter of a card's energy."""

    name = "NVML, the whole card"

    def __init__(self, card: Nvml) -> None:
        self._card = card

    def joules(self) -> float:
        """What the card has used; raises UsageError where the driver no longer tells."""
        joules = self._card.joules()
        if joules is None:
            raise UsageError("NVML no longer tells the card's energy")
        return joules

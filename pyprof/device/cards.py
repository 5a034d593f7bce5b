"""What is known of a machine's NVIDIA cards and their software, for the environment of a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pyprof.records.environment import Gpu


def environment() -> dict[str, Any]:
    """The fields of an ``Environment`` that tell of CUDA; none where PyTorch sees no card. Loads torch, starts CUDA."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {
        "gpus": visible_gpus(torch.cuda),
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "driver": driver_version(),
    }


def visible_gpus(cuda: Any) -> tuple[Gpu, ...]:
    """The cards that PyTorch sees."""
    properties = (cuda.get_device_properties(index) for index in range(cuda.device_count()))
    return tuple(
        Gpu(card.name, str(getattr(card, "uuid", "unknown")), f"{card.major}.{card.minor}", card.total_memory)
        for card in properties
    )


def driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The version of the NVIDIA kernel driver; None where there is none."""
    try:
        match = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", path.read_text())
    except OSError:
        return None
    return match[1] if match else None

"""The machine and the software that a measurement ran on. Loads neither torch nor transformers on import."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

from pyprof.device import cards
from pyprof.machine import allocator
from pyprof.machine.pin import pinned
from pyprof.records.environment import Environment
from pyprof.timing.cores import usable_cores

_DISTRIBUTION = "pyprof-transformers"


def current_environment() -> Environment:
    """This machine and its software; loads torch, and starts CUDA where there is a device."""
    import torch

    built = torch.__config__.show()
    onednn_available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return Environment(
        hostname=platform.node(),
        cpu=cpu_model(),
        cores=len(usable_cores()),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        threads=torch.get_num_threads(),
        system=platform.system(),
        kernel=platform.release(),
        architecture=platform.machine(),
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=_version("transformers"),
        # Without what a wheel's version says of torch, which stands above.
        pyprof=_version(_DISTRIBUTION).partition("+")[0],
        blas=_match(r"BLAS_INFO=(\w+)", built) or "none",
        onednn=_match(r"MKL-DNN v([\w.]+)", built) if onednn_available else None,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        pinned=pinned(),
        allocator=allocator.described(),
        **cards.environment(),
    )


def cpu_model(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the kernel reports it, or its architecture where the kernel does not."""
    try:
        name = _match(r"(?m)^(?:model name|Model|cpu model)\s*:\s*(.+)$", path.read_text())
    except OSError:
        name = None
    return name or platform.processor() or platform.machine()


def _match(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1].strip() if match else None


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"

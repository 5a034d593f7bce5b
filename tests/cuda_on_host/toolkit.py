"""Where CUDA's compiler, its headers and its disassembler are, and why a test cannot run without them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NVCC = shutil.which("nvcc")
NO_NVCC = "there is no nvcc"
NO_DISASSEMBLER = "there is no nvdisasm (pip install nvidia-cuda-nvdisasm)"


def cuda_headers() -> Path | None:
    """The folder with cuda_runtime_api.h. nvcc itself is asked, since it can be a wrapper script in another place."""
    guesses = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    if NVCC:
        told = subprocess.run([NVCC, "--dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True).stderr
        guesses += [Path(top) for top in re.findall(r"^#\$ TOP=(.+)$", told, re.MULTILINE)]
    places = [guess / "include" for guess in guesses]
    return next((place.resolve() for place in places if (place / "cuda_runtime_api.h").exists()), None)


def disassembler() -> str | None:
    """CUDA's nvdisasm: on the path, or from its package on PyPI, which puts it below site-packages/nvidia."""
    found = shutil.which("nvdisasm")
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else ()
    packaged = (path for folder in folders for path in Path(folder).glob("*/bin/nvdisasm"))
    return found or next((str(path) for path in packaged), None)


@dataclass(frozen=True)
class Kernel:
    """One entry of the compiler's report."""

    name: str
    registers: int
    spilled_bytes: int
    stack_bytes: int
    static_shared_bytes: int


_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for '\w+'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


def kernels(report: str) -> list[Kernel]:
    """What `nvcc -Xptxas -v` says of each kernel."""
    found = []
    for match in _ENTRY.finditer(report):
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        spilled = int(match["stores"]) + int(match["loads"])
        static = int(shared[1]) if shared else 0
        found.append(Kernel(match["name"], int(match["registers"]), spilled, int(match["stack"]), static))
    return found


def instructions(disassembly: str) -> dict[str, set[str]]:
    """The instructions' names, without their suffixes, of each kernel in what `nvdisasm -c` prints."""
    found: dict[str, set[str]] = {}
    for part in re.split(r"^\.text\.", disassembly, flags=re.MULTILINE)[1:]:
        name = part.split(":", maxsplit=1)[0]
        found[name] = set(re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][A-Z0-9]*)", part, re.MULTILINE))
    return found

"""A tool of our own that attaches to a program, and what it has written down as a tree of ranges."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from watching import Seen, threads

HERE = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("c++")


def headers() -> Path | None:
    """Where nvtx3/ is; as setup.py looks for it."""
    places = [folder for place in sys.path for folder in Path(place).glob("nvidia/*/include")]
    homes = (os.environ.get("CUDA_HOME"), "/usr/local/cuda")
    places += [Path(home, "include") for home in homes if home]
    return next((place for place in places if (place / "nvtx3" / "nvToolsExt.h").exists()), None)


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    include = headers()
    if COMPILER is None or include is None:
        pytest.skip("there is no C++ compiler, or there are no headers of NVTX (install nvidia-nvtx)")
    library = tmp_path_factory.mktemp("nvtx") / "libtool.so"
    command = [COMPILER, "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{include}", str(HERE / "tool.cpp")]
    subprocess.run([*command, "-o", str(library)], check=True, capture_output=True, text=True)
    return library


@pytest.fixture
def watch(tool: Path, tmp_path: Path) -> Callable[..., Seen]:
    """Run a program in Python, or a command line, with the tool attached."""

    def run(program: str | list[str], **environment: str) -> Seen:
        calls = tmp_path / "calls.tsv"
        command = [sys.executable, "-c", program] if isinstance(program, str) else [sys.executable, *program]
        attached = {"NVTX_INJECTION64_PATH": str(tool), "NVTX_TOOL_FILE": str(calls)}
        done = subprocess.run(
            command,
            env={**os.environ, **attached, **environment},
            capture_output=True,
            text=True,
            timeout=600,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        lines = [line.split("\t") for line in calls.read_text().splitlines()] if calls.exists() else []
        return Seen(threads(lines), lines, json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None)

    return run

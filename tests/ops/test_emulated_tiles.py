"""The host kernels for AMX on a CPU that has bfloat16's instructions but no tiles, which are emulated."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from pyprof.ops.window_attention import cpu_isa

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which("g++")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler"),
    pytest.mark.skipif(cpu_isa(torch.bfloat16) not in ("avx512_bf16", "amx"), reason="needs AVX-512 with bfloat16"),
]


def compare(folder: Path, csrc: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "emulated_tiles"
    sources = [Path(__file__).with_name("emulated_tiles.cpp"), csrc / "window_attention/cpu_avx512.cpp"]
    command = [COMPILER, "-std=c++20", "-O1", f"-I{csrc}", *map(str, sources), "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return subprocess.run([str(program)], capture_output=True, text=True, timeout=300)


def test_equal_those_in_float32(tmp_path):
    done = compare(tmp_path, ROOT / "csrc")
    assert (done.returncode, done.stdout) == (0, "all alike\n"), done.stderr


def test_a_wrong_pair_is_seen(tmp_path):
    """The second key of every pair of weights is taken for the first."""
    shutil.copytree(ROOT / "csrc/window_attention", tmp_path / "csrc/window_attention")
    header = tmp_path / "csrc/window_attention/cpu_tiles_forward.h"
    text = header.read_text()
    correct = "Vec::load(row + kTile) : Vec::set1(0)"
    assert correct in text
    header.write_text(text.replace(correct, "Vec::load(row) : Vec::set1(0)"))
    done = compare(tmp_path, tmp_path / "csrc")
    assert done.returncode == 1
    assert "tensor 0" in done.stdout

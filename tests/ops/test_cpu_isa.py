"""Which instruction set the host kernels use, and that code of one cannot be reached on a CPU without it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import torch

import pyprof._window
from pyprof.errors import UsageError
from pyprof.ops.window_attention import cpu_isa

NAMES = ("portable", "avx2", "avx512", "avx512_bf16", "amx")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("PYPROF_CPU_ISA", raising=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_choice_is_known_and_can_be_lowered(dtype, monkeypatch):
    best = cpu_isa(dtype)
    assert best in NAMES
    for name in NAMES[: NAMES.index(best) + 1]:
        monkeypatch.setenv("PYPROF_CPU_ISA", name)
        assert NAMES.index(cpu_isa(dtype)) <= NAMES.index(name)
    monkeypatch.setenv("PYPROF_CPU_ISA", "portable")
    assert cpu_isa(dtype) == "portable"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_only_bfloat16_uses_what_is_made_for_it(dtype):
    assert cpu_isa(dtype) in NAMES[:3]


@pytest.mark.parametrize("name", ["avx1024", "AVX2", " "])
def test_an_unknown_name_is_an_error(name, monkeypatch):
    monkeypatch.setenv("PYPROF_CPU_ISA", name)
    with pytest.raises(UsageError, match=r"PYPROF_CPU_ISA.*set it to one of portable"):
        cpu_isa(torch.float32)


def names_of_functions_with(instruction: str) -> set[str]:
    """Functions of the library in which an instruction matches; `instruction` is a regular expression."""
    listing = subprocess.run(
        ["objdump", "-d", "-C", "--no-show-raw-insn", pyprof._window.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found, name = set(), ""
    for line in listing.splitlines():
        if line.endswith(">:"):
            name = line.split("<", 1)[1].removesuffix(">:")
        elif re.search(instruction, line):
            found.add(name)
    return found


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump, of binutils")
@pytest.mark.skipif(cpu_isa(torch.float32) == "portable", reason="the kernels of other CPUs have no other code")
def test_vector_code_is_in_functions_of_its_own():
    """The linker merges inline functions and templates of different files: none may need an instruction set."""
    names = names_of_functions_with(r"\tv[a-z0-9]+ |%[yz]mm|%tmm")
    assert {name for name in names if "pyprof::window::(anonymous namespace)::" not in name} == set()
    # The search does find such code where it should be.
    assert any("scores_block" in name for name in names)

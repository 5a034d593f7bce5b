"""What nvcc makes of the kernels: no spills, bounded registers, tensor-core instructions where they belong."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
from building import COMPILER, HERE, NO_COMPILER, ROOT
from toolkit import NO_DISASSEMBLER, NO_NVCC, NVCC, cuda_headers, disassembler, instructions, kernels

WINDOW = ROOT / "csrc/window_attention"
# What the library is built for; sm_80 is the first that has all that gpu.h needs.
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
# By head_dim. A block has 128 threads and a multiprocessor 65536 registers: at 128 a thread four blocks fit, at 168
# three, at 255 two. With dropout, head_dim 64 takes up to 224 on sm_90.
MOST_REGISTERS = {"32": 128, "64": 232, "128": 255}
MOST_OF_WIDE = MOST_REGISTERS | {"64": 168}  # the forward of wide windows is to have three blocks there
# A source with one architecture of its own has nothing for others.
SOURCES = [
    (path.stem, architecture)
    for path in sorted(WINDOW.glob("*.cu"))
    for architecture in (("sm_90a",) if path.stem == "hopper" else ARCHITECTURES)
]

needs_nvcc = pytest.mark.skipif(NVCC is None, reason=NO_NVCC)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """(source, architecture) -> the object and the compiler's report; each is compiled when it is first wanted."""
    folder = tmp_path_factory.mktemp("machine_code")
    done: dict[tuple[str, str], tuple[Path, str]] = {}

    def compile_one(source: str, architecture: str) -> tuple[Path, str]:
        key = (source, architecture)
        if key not in done:
            output = folder / f"{source}.{architecture}.cubin"
            assert NVCC
            command = [NVCC, "-std=c++20", "-O3", f"-arch={architecture}", "-cubin", "-Xptxas", "-v"]
            command += [f"-I{ROOT / 'csrc'}", str(WINDOW / f"{source}.cu"), "-o", str(output)]
            run = subprocess.run(command, capture_output=True, text=True)
            assert run.returncode == 0, run.stderr[-4000:]
            done[key] = (output, run.stderr)
        return done[key]

    return compile_one


@needs_nvcc
@pytest.mark.parametrize(("source", "architecture"), SOURCES)
def test_nothing_spills_and_registers_are_bounded(compiled, source, architecture):
    found = kernels(compiled(source, architecture)[1])
    assert found
    for kernel in found:
        assert kernel.spilled_bytes == 0, kernel
        assert kernel.stack_bytes == 0, kernel
        named = re.search(r"Li(32|64|128)E", kernel.name)
        assert named, kernel
        # Blocks of Hopper's narrow kernel that go over several heads are alone on their multiprocessor.
        most = MOST_OF_WIDE if "mma_wide" in kernel.name else MOST_REGISTERS
        assert kernel.registers <= (255 if "narrow" in kernel.name else most[named[1]]), kernel
        assert kernel.static_shared_bytes == 0, kernel  # all of it is dynamic, which the emulation checks


@needs_nvcc
def test_products_of_a_warpgroup_are_not_serialised(compiled):
    assert "serialized" not in compiled("hopper", "sm_90a")[1]


@needs_nvcc
@pytest.mark.skipif(disassembler() is None, reason=NO_DISASSEMBLER)
def test_hopper_uses_what_hopper_has(compiled):
    command = [disassembler(), "-c", str(compiled("hopper", "sm_90a")[0])]
    of_kernel = instructions(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert of_kernel
    for kernel, names in of_kernel.items():
        if "statistics" in kernel:  # row sums, which have no matrix product
            continue
        # Products of a warpgroup, copies of boxes, barriers, and registers that move where one warpgroup only copies.
        assert {"HGMMA", "UTMALDG", "SYNCS"} <= names, kernel
        assert "narrow" in kernel or "USETMAXREG" in names, kernel
        if "backward" in kernel:  # copies and additions in a line, matrix stores
            assert {"UBLKCP", "UBLKRED", "STSM"} <= names, kernel


@needs_nvcc
def test_code_for_other_cards_has_nothing_of_hopper(compiled):
    for kernel in kernels(compiled("hopper", "sm_80")[1]):
        assert kernel.registers <= 16, kernel


@needs_nvcc
@pytest.mark.skipif(disassembler() is None, reason=NO_DISASSEMBLER)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tensor_cores_are_used_where_they_belong(compiled, architecture):
    of_source = {}
    for source in ("plain", "mma", "mma_one_pass"):
        command = [disassembler(), "-c", str(compiled(source, architecture)[0])]
        of_source[source] = instructions(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert all("HMMA" not in names and "FFMA" in names for names in of_source["plain"].values())
    for kernel, names in (of_source["mma"] | of_source["mma_one_pass"]).items():
        if "statistics" in kernel or "global_sum" in kernel:  # sums, which have no matrix product
            continue
        assert {"HMMA", "LDSM", "LDGSTS"} <= names, kernel  # products, matrix loads, asynchronous copies
    assert any("HMMA" in names for names in of_source["mma"].values())


def test_a_report_with_spills_is_read_as_such():
    report = (
        "ptxas info    : Compiling entry function '_Z1kv' for 'sm_80'\n"
        "ptxas info    : Function properties for _Z1kv\n"
        "    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
        "ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size, 512 bytes smem\n"
    )
    (kernel,) = kernels(report)
    assert (kernel.registers, kernel.spilled_bytes, kernel.stack_bytes, kernel.static_shared_bytes) == (40, 28, 8, 512)


@needs_nvcc
@pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)
@pytest.mark.parametrize("defined", [(), ("-DPYPROF_HOPPER",)], ids=["every card", "with Hopper"])
def test_the_operators_compile_against_cudas_headers(defined):
    """A PyTorch without CUDA has no library to link with, and lacks one generated header, but the code is checked."""
    import torch

    headers = cuda_headers()
    assert headers, "nvcc is there and its headers are not: set CUDA_HOME"
    of_torch = Path(torch.__file__).parent / "include"
    includes = [of_torch, of_torch / "torch/csrc/api/include", sysconfig.get_paths()["include"]]
    includes += [HERE / "generated_headers"] if torch.version.cuda is None else []
    command = [COMPILER, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"]
    command += defined
    command += [f"-I{ROOT / 'csrc'}", *(f"-isystem{path}" for path in [*includes, headers])]
    run = subprocess.run([*command, str(WINDOW / "cuda_op.cpp")], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]

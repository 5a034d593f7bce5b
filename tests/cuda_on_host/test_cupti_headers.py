"""The fake CUPTI's interface is CUPTI's: held against the toolkit's headers, which csrc/cuda compiles with too."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from cuda_part import COMPILER, FAKE_CUPTI, ROOT
from toolkit import cuda_headers

HEADERS = cuda_headers()
HAS_CUPTI = HEADERS is not None and (HEADERS / "cupti.h").exists()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler"),
    pytest.mark.skipif(not HAS_CUPTI, reason="there are no headers of CUPTI (the CUDA toolkit has them)"),
]

FIELDS = ["start", "end", "deviceId", "contextId", "streamId", "correlationId", "graphNodeId", "graphId"]
RECORDS = ("CUpti_ActivityKernel9", "CUpti_ActivityMemcpy5", "CUpti_ActivityMemcpyPtoP4", "CUpti_ActivityMemset4")


def layout(include: Path, folder: Path) -> list[str]:
    """What a program that is compiled with these headers says of everything that is read."""
    lines = [
        f'std::printf("{record} {field} %zu\\n", offsetof({record}, {field}));'
        for record in RECORDS
        for field in FIELDS
    ]
    lines.append('std::printf("name %zu\\n", offsetof(CUpti_ActivityKernel9, name));')
    for name in ("callbackSite", "correlationId"):
        lines.append(f'std::printf("{name} %zu\\n", offsetof(CUpti_CallbackData, {name}));')
    lines.append('std::printf("descriptor %zu\\n", offsetof(CUpti_ResourceData, resourceDescriptor));')
    for name in ("node", "originalNode"):
        lines.append(f'std::printf("{name} %zu\\n", offsetof(CUpti_GraphData, {name}));')
    for name in set(re.findall(r"\bCUPTI_[A-Z0-9_a-z]+(?= =)", (FAKE_CUPTI / "cupti.h").read_text())):
        lines.append(f'std::printf("{name} %d\\n", static_cast<int>({name}));')
    for name in set(re.findall(r"CUPTI_DRIVER\w+(?= =)", (FAKE_CUPTI / "cupti_driver_cbid.h").read_text())):
        lines.append(f'std::printf("{name} %d\\n", static_cast<int>({name}));')
    source = folder / "layout.cpp"
    body = "\n".join(lines)
    source.write_text(f"#include <cupti.h>\n#include <cstddef>\n#include <cstdio>\nint main() {{\n{body}\n}}\n")
    program = folder / "layout"
    assert COMPILER
    subprocess.run(
        [COMPILER, "-std=c++20", "-w", f"-I{include}", str(source), "-o", str(program)], check=True, capture_output=True
    )
    return sorted(subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.splitlines())


def test_the_fake_is_laid_out_as_cupti_is(tmp_path):
    assert HEADERS
    real, fake = tmp_path / "real", tmp_path / "fake"
    real.mkdir()
    fake.mkdir()
    assert layout(HEADERS, real) == layout(FAKE_CUPTI, fake)


def test_a_newer_record_begins_as_the_one_that_is_read(tmp_path):
    """A newer CUPTI hands out newer records: their beginning has to be the same."""
    assert HEADERS
    source = tmp_path / "newer.cpp"
    newest = max(
        int(number) for number in re.findall(r"CUpti_ActivityKernel(\d+);", (HEADERS / "cupti_activity.h").read_text())
    )
    checks = "\n".join(
        f"static_assert(offsetof(CUpti_ActivityKernel{newest}, {field}) == offsetof(CUpti_ActivityKernel9, {field}));"
        for field in (*FIELDS, "name")
    )
    source.write_text(f"#include <cupti.h>\n#include <cstddef>\n{checks}\n")
    assert COMPILER
    subprocess.run([COMPILER, "-std=c++20", "-w", "-fsyntax-only", f"-I{HEADERS}", str(source)], check=True)


def test_every_call_that_gives_a_device_work_is_listened_to(tmp_path):
    """By the toolkit's own list, twins included, but for what newer versions of a call have taken the place of."""
    assert HEADERS
    listed = re.findall(r"CUPTI_DRIVER_TRACE_CBID_(\w+)\s*= (\d+)", (HEADERS / "cupti_driver_cbid.h").read_text())
    numbers = {name: int(number) for name, number in listed}
    source = tmp_path / "calls.cpp"
    body = 'for (const CUpti_CallbackId id : pyprof::kLaunchCalls) std::printf("%u\\n", id);'
    source.write_text(f'#include "launch_calls.h"\n#include <cstdio>\nint main() {{\n{body}\n}}\n')
    program, folders = tmp_path / "calls", [f"-I{ROOT / 'csrc/cuda'}", f"-isystem{HEADERS}"]
    assert COMPILER
    subprocess.run([COMPILER, "-std=c++20", *folders, str(source), "-o", str(program)], check=True)
    heard = {int(line) for line in subprocess.run([str(program)], capture_output=True, text=True).stdout.split()}
    work = re.compile(r"cu(Launch(?!HostFunc)|GraphLaunch|Memcpy|MemsetD)")
    unheard = {name for name, number in numbers.items() if work.match(name) and number not in heard}
    # The driver's own header has no cuMemcpy_v2, so that nobody calls it.
    assert {name for name in unheard if f"{name}_v2" not in numbers} == {"cuMemcpy_v2"}
    assert not {name for name in unheard if name.endswith(("_ptsz", "_ptds"))}
    assert {"cuLaunchKernelEx_ptsz", "cuGraphLaunch_ptsz", "cuMemcpyAsync_ptsz"} <= {
        name for name, number in numbers.items() if number in heard
    }


def test_numbers_that_older_headers_do_not_name_are_the_toolkits():
    """Of the update of a graph's node and of what CUPTI refuses: CUDA 12's headers lack some of the names."""
    assert HEADERS
    texts = [(ROOT / "csrc/cuda" / name).read_text() for name in ("session.cpp", "cupti_api.cpp")]
    headers = "".join((HEADERS / name).read_text() for name in ("cupti_callbacks.h", "cupti_result.h"))
    named = {
        "kNodeUpdated": "CUPTI_CBID_RESOURCE_GRAPH_NODE_UPDATED",
        "kMultipleSubscribers": "CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED",
        "kInsufficientPrivileges": "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES",
        "kVirtualisedDevice": "CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES",
    }
    for ours, theirs in named.items():
        found = re.search(rf"\b{theirs}\s*= (\d+)", headers)
        if found is not None:
            assert f"{ours} = {found[1]}" in "".join(texts)


@pytest.mark.parametrize("name", ["cupti_api", "session", "work_log"])
def test_the_cuda_part_compiles_with_the_toolkits_headers(name):
    source = ROOT / "csrc/cuda" / f"{name}.cpp"
    command = [str(COMPILER), "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-isystem{HEADERS}"]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-4000:]

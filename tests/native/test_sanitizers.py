"""The recorder and the probe under ASan, UBSan and TSan, built without PyTorch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CORE = [
    ROOT / "csrc/recorder" / f"{name}.cpp" for name in ("recorder", "thread_buffer", "call_tree", "ranges", "clock")
]
COMPILER = shutil.which("g++") or shutil.which("c++")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="sanitizers are set up for Linux"),
]


def compile_and_link(output: Path, sources: list[Path], *flags: str) -> None:
    assert COMPILER
    command = [COMPILER, "-std=c++20", "-O1", "-g", "-pthread", f"-I{ROOT / 'csrc'}", *flags, *map(str, sources)]
    subprocess.run([*command, "-o", str(output)], check=True, capture_output=True, text=True)


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_recorder(tmp_path, sanitizer):
    program = tmp_path / "stress"
    flags = (f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")
    compile_and_link(program, [HERE / "recorder_stress.cpp", *CORE], *flags)
    # Some kernels place memory so widely that ThreadSanitizer cannot start; without that randomness it can.
    command = [str(program)] if sanitizer != "thread" else ["setarch", "-R", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "all held" in done.stdout


@pytest.mark.parametrize(
    ("file", "correct", "planted"),
    [
        ("recorder.h", "if (depth_ == 0) publish();", "publish();"),  # hands over what is still open
        ("recorder.h", "took - frame.inner)", "took)"),
        ("thread_buffer.cpp", "open_[cell] = {};", ""),
        ("recorder.h", "if (annotations_) annotations_->pop();", ""),
        ("thread_buffer.cpp", "for (uint32_t range = 0; range < frame.ranges; ++range) annotations_->pop();", ""),
        ("ranges.h", "if (owner == last_owner_)", "if (owner == last_owner_ || owner == kNobody)"),
        ("ranges.cpp", "  forget(step_);", ""),
        ("call_tree.cpp", "if (sites_[site].layer == layer) return site;", ""),
    ],
)
def test_the_stress_program_can_fail(tmp_path, file, correct, planted):
    """A recorder with a planted defect must be found out."""
    copy = tmp_path / "csrc" / "recorder"
    shutil.copytree(ROOT / "csrc/recorder", copy)
    text = (copy / file).read_text()
    assert correct in text
    (copy / file).write_text(text.replace(correct, planted, 1))
    program = tmp_path / "stress"
    sources = [HERE / "recorder_stress.cpp", *(copy / path.name for path in CORE)]
    assert COMPILER
    command = [COMPILER, "-std=c++20", "-O1", "-pthread", f"-I{tmp_path / 'csrc'}"]
    subprocess.run([*command, *map(str, sources), "-o", str(program)], check=True, capture_output=True)
    assert subprocess.run([str(program)], capture_output=True, timeout=300).returncode != 0


def test_probe(tmp_path):
    module = tmp_path / f"probe_module{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = sysconfig.get_paths()["include"]
    sources = [HERE / "probe_module.cpp", ROOT / "csrc/recorder/probe.cpp", *CORE]
    compile_and_link(module, sources, "-shared", "-fPIC", f"-I{include}", "-fsanitize=address,undefined")
    assert COMPILER
    libraries = [
        subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONPATH": str(tmp_path),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter itself leaks on purpose
        "UBSAN_OPTIONS": "halt_on_error=1",
    }
    command = [sys.executable, "-S", str(HERE / "probe_program.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "all held" in done.stdout

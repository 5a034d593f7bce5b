"""The log of a device's work under ASan, UBSan and TSan, and with planted defects."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from cuda_part import COMPILER, FAKE_CUPTI, HERE, ROOT, build_fake_cupti

PARTS = ("session", "work_log", "cupti_api")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")]


def build(folder: Path, csrc: Path, *flags: str) -> list[str]:
    """The stress program with a fake CUPTI of the same flags, as a command."""
    fake = build_fake_cupti(folder, "-O1", *flags)
    program = folder / "stress"
    sources = [HERE / "work_log_stress.cpp", *(csrc / "cuda" / f"{part}.cpp" for part in PARTS)]
    command = [str(COMPILER), "-std=c++20", "-O1", "-g", "-pthread", *flags, f"-I{csrc}", f"-I{FAKE_CUPTI}"]
    done = subprocess.run([*command, *map(str, sources), "-o", str(program), "-ldl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return [str(program), str(fake)]


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_many_threads(tmp_path, sanitizer):
    command = build(tmp_path, ROOT / "csrc", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all")
    # Some kernels place memory so widely that ThreadSanitizer cannot start; without that randomness it can.
    prefix = ["setarch", "-R"] if sanitizer == "thread" and shutil.which("setarch") else []
    done = subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "all held" in done.stdout


@pytest.mark.parametrize(
    ("file", "correct", "planted"),
    [
        ("session.cpp", "call.callbackSite == CUPTI_API_ENTER", "true"),  # each launch is noted twice
        # Whoever stops listening silences the others.
        ("session.cpp", "  for (auto& slot : logs_) last &=", "  for (auto& slot : logs_) last |="),
        ("session.cpp", "  active->spare_.push_back(buffer);", ""),  # no buffer is used again
        (
            "session.cpp",
            "&dropped) == CUPTI_SUCCESS && dropped) count_lost(dropped);",
            "&dropped) == CUPTI_SUCCESS) {}",
        ),
        ("work_log.cpp", "if (listening_) session.flush();", ""),  # what CUPTI still holds comes too late
        (
            "session.cpp",
            "log.operations_.push(here); });",
            "log.operations_.push(here); log.operations_.push(here); });",
        ),
        (
            "session.cpp",
            "const Place place =",
            "static std::vector<int> calls; calls.push_back(1); const Place place =",
        ),
        ("shared_ring.h", "slot.turn.store(read_ + mask_ + 1", "slot.turn.store(read_ + mask_ + 2"),
    ],
)
def test_planted_defects_are_found(tmp_path, file, correct, planted):
    copy = tmp_path / "csrc"
    for part in ("cuda", "recorder"):
        shutil.copytree(ROOT / "csrc" / part, copy / part)
    text = (copy / "cuda" / file).read_text()
    assert correct in text
    (copy / "cuda" / file).write_text(text.replace(correct, planted, 1))
    command = build(tmp_path, copy)
    with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs is found, too
        assert subprocess.run(command, capture_output=True, timeout=20).returncode != 0

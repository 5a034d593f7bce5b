"""Which allocator a process is started with, and what is known of the one that a user has set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyprof.errors import UsageError
from pyprof.machine import allocator

TOUCH = """
import resource, torch
def step():
    return torch.ones(1 << 24).sum()
for _ in range(8):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


def faults(name: str) -> float:
    """Page faults of a step that allocates 64 MiB, in a process with that allocator."""
    environ = {**os.environ, **allocator.variables(name)}
    done = subprocess.run([sys.executable, "-c", TOUCH], env=environ, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_kept_memory_is_not_faulted_in_again() -> None:
    # Blocks below 32 MiB the C library learns to keep by itself. A huge page is one fault; elsewhere 64 MiB are 16,384.
    fresh, kept = faults("default"), faults("keep")
    assert fresh > 1
    assert kept < fresh / 4


def test_what_the_user_has_set_stays_beside_it_and_is_told_of_the_machine() -> None:
    own = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2:glibc.cpu.x86_shstk=off", "MALLOC_ARENA_MAX": "2"}
    changed = allocator.variables("keep", own)
    tunables = changed["GLIBC_TUNABLES"].split(":")
    assert tunables[:2] == ["glibc.malloc.arena_max=2", "glibc.cpu.x86_shstk=off"]
    assert {tunable.partition("=")[0] for tunable in tunables[2:]} == {
        "glibc.malloc.mmap_threshold",
        "glibc.malloc.trim_threshold",
        "glibc.malloc.top_pad",
    }
    told = "glibc.malloc.arena_max=2, MALLOC_ARENA_MAX=2"
    assert allocator.described(own, Path("/nowhere")) == told
    # The process that measures says the same, whatever it was started with.
    assert allocator.described({**own, **changed}) == told
    assert allocator.current({**own, **changed}) == "keep"
    # A process of that one starts from what the user had.
    assert allocator.variables("keep", {**own, **changed})["GLIBC_TUNABLES"] == changed["GLIBC_TUNABLES"]


def test_a_plain_process_has_nothing_to_tell() -> None:
    assert allocator.described({}, Path("/nowhere")) is None
    assert allocator.described(allocator.variables("keep", {})) is None
    assert allocator.current({}) == "default"
    assert allocator.variables("default", {})["PYPROF_ALLOCATOR"] == "default"


def test_a_preloaded_allocator_is_known_by_what_is_mapped(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text("7f00 r-xp /usr/lib/x86_64-linux-gnu/libjemalloc.so.2\n7f01 r-xp /lib/libc.so.6\n")
    assert allocator.described({"MALLOC_CONF": "narenas:1"}, maps) == "jemalloc, MALLOC_CONF=narenas:1"


def test_others_have_to_be_installed_and_to_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(UsageError, match=r"jemalloc is not installed: install it \(on Debian: apt-get install"):
        allocator.variables("jemalloc", {})
    monkeypatch.setattr("ctypes.util.find_library", lambda name: f"lib{name}.so.2")
    assert allocator.variables("jemalloc", {"LD_PRELOAD": "own.so"})["LD_PRELOAD"] == "libjemalloc.so.2 own.so"
    with pytest.raises(UsageError, match="there is no allocator 'mimalloc'"):
        allocator.variables("mimalloc", {})
    monkeypatch.setenv("PYPROF_ALLOCATOR", "tcmalloc")
    (tmp_path / "maps").write_text("7f01 r-xp /lib/libc.so.6\n")
    with pytest.raises(UsageError, match="tcmalloc could not be loaded into the measuring process"):
        allocator.check(tmp_path / "maps")


def test_without_gnus_library_memory_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: None)
    with pytest.raises(UsageError, match="memory can be kept by GNU's C library only"):
        allocator.variables("keep", {})

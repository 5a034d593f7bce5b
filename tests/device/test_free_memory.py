from __future__ import annotations

from pathlib import Path

import pytest

from pyprof.device.cuda import CudaDevice
from pyprof.device.host import HostDevice, available_memory
from pyprof.device.memory import MemoryBudget
from pyprof.errors import UsageError

GIB = 2**30


def machine(root: Path, available_kib: int, groups: str, files: dict[str, str]) -> Path:
    """A root directory with the files in which a kernel tells about its memory."""
    texts = {
        "proc/meminfo": f"MemTotal: 99999999 kB\nMemFree: 1 kB\nMemAvailable:   {available_kib} kB\n",
        "proc/self/cgroup": groups,
        **files,
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_a_group_the_host_decides(tmp_path: Path) -> None:
    root = machine(tmp_path, 8 * 2**20, "0::/\n", {})
    assert available_memory(root) == MemoryBudget(8 * GIB, "the host's available memory")


def test_a_version_2_limit_leaves_what_is_not_used_or_can_be_reclaimed(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/user/job"
    files = {
        f"{group}/memory.max": f"{4 * GIB}\n",
        f"{group}/memory.current": f"{3 * GIB}\n",
        f"{group}/memory.stat": f"anon 17\ninactive_file {GIB}\nactive_file {GIB}\n",
    }
    root = machine(tmp_path, 8 * 2**20, "0::/user/job\n", files)
    assert available_memory(root) == MemoryBudget(2 * GIB, "what the control group's limit leaves")


def test_a_limit_of_a_group_further_out_holds_as_well(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/user/job/memory.max": "max\n",
        "sys/fs/cgroup/user/job/memory.current": "5\n",
        "sys/fs/cgroup/user/memory.max": f"{GIB}\n",
        "sys/fs/cgroup/user/memory.current": "24\n",
        "sys/fs/cgroup/user/memory.stat": "inactive_file 0\n",
    }
    assert available_memory(machine(tmp_path, 8 * 2**20, "0::/user/job\n", files)).bytes == GIB - 24


def test_a_version_1_limit_is_honoured_in_a_container_that_sees_its_group_as_the_mount(tmp_path: Path) -> None:
    mount = "sys/fs/cgroup/memory"
    files = {
        f"{mount}/memory.limit_in_bytes": f"{2 * GIB}\n",
        f"{mount}/memory.usage_in_bytes": f"{GIB}\n",
        f"{mount}/memory.stat": "inactive_file 7\ntotal_inactive_file 100\n",
    }
    root = machine(tmp_path, 8 * 2**20, "5:cpu,cpuacct:/x\n4:memory:/docker/0123\n0::/docker/0123\n", files)
    assert available_memory(root).bytes == GIB + 100


def test_no_limit_of_version_1_is_a_huge_number(tmp_path: Path) -> None:
    mount = "sys/fs/cgroup/memory"
    files = {
        f"{mount}/memory.limit_in_bytes": "9223372036854771712\n",
        f"{mount}/memory.usage_in_bytes": "5\n",
        f"{mount}/memory.stat": "",
    }
    assert available_memory(machine(tmp_path, 1024, "4:memory:/\n", files)).bytes == 2**20


def test_a_group_above_its_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/memory.max": "100\n",
        "sys/fs/cgroup/memory.current": "150\n",
        "sys/fs/cgroup/memory.stat": "",
    }
    assert available_memory(machine(tmp_path, 1024, "0::/\n", files)).bytes == 0


def test_a_system_that_does_not_tell_asks_for_a_budget(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="set a memory budget"):
        available_memory(tmp_path)


def test_this_host_has_some_memory() -> None:
    budget, available = HostDevice().memory_budget(share=0.5), available_memory()
    assert 0 < budget.bytes < available.bytes
    assert budget.source == f"50% of {available.source}"


def test_a_device_counts_what_its_allocator_only_keeps() -> None:
    class Cuda:
        def mem_get_info(self, device: object) -> tuple[int, int]:
            return 10 * GIB, 16 * GIB

        def memory_reserved(self, device: object) -> int:
            return 3 * GIB

        def memory_allocated(self, device: object) -> int:
            return GIB

    assert CudaDevice("cuda:0", Cuda()).free_memory().bytes == 12 * GIB


def test_a_budget_reads_well() -> None:
    assert str(MemoryBudget(GIB, "90% of the device's free memory")) == "1.00 GiB (90% of the device's free memory)"

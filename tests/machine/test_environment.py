from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pyprof.device.cards import driver_version, visible_gpus
from pyprof.errors import UsageError
from pyprof.machine.environment import cpu_model, current_environment
from pyprof.records.environment import Environment, Gpu, differences

CARD = Gpu("NVIDIA H100 80GB HBM3", "GPU-1234", "9.0", 85_000_000_000)
MACHINE = Environment(
    hostname="node7",
    cpu="AMD EPYC 7763",
    cores=64,
    memory_bytes=2**38,
    threads=32,
    system="Linux",
    kernel="6.8.0",
    architecture="x86_64",
    python="3.11.7",
    torch="2.13.0",
    transformers="5.23.0",
    pyprof="0.1.0",
    blas="mkl",
    onednn="3.12.0",
    cpu_capability="AVX2",
    gpus=(CARD, CARD),
    cuda="13.0",
    cudnn="91000",
    driver="580.1",
)


def test_an_environment_survives_the_way_through_json() -> None:
    data = json.loads(json.dumps(MACHINE.to_json()))
    assert Environment.from_json(data) == MACHINE
    assert data["fingerprint"] == MACHINE.fingerprint
    assert len(MACHINE.fingerprint) == 16


@pytest.mark.parametrize(
    "changes",
    [{"hostname": "node8"}, {"memory_bytes": 2**38 - 4096}, {"gpus": (CARD, replace(CARD, uuid="GPU-9"))}],
    ids=["name", "memory", "card"],
)
def test_equal_machines_share_a_fingerprint(changes: dict[str, object]) -> None:
    other = replace(MACHINE, **changes)
    assert other.fingerprint == MACHINE.fingerprint
    assert differences(MACHINE, other) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cpu": "AMD EPYC 9654"}, ["processor: AMD EPYC 7763 against AMD EPYC 9654"]),
        ({"threads": 1, "cores": 2}, ["cores: 64 against 2", "threads: 32 against 1"]),
        ({"torch": "2.14.1"}, ["torch: 2.13.0 against 2.14.1"]),
        ({"onednn": None}, ["oneDNN: 3.12.0 against none"]),
        ({"cpu_capability": "AVX512"}, ["instruction set: AVX2 against AVX512"]),
        ({"gpus": (CARD,)}, [f"GPUs: {CARD.name} (9.0), {CARD.name} (9.0) against {CARD.name} (9.0)"]),
        ({"driver": "590.2"}, ["GPU driver: 580.1 against 590.2"]),
        ({"pinned": "0,2-3"}, ["pinned to: none against 0,2-3"]),
    ],
)
def test_what_sets_machines_apart_is_told_in_words(changes: dict[str, object], words: list[str]) -> None:
    other = replace(MACHINE, **changes)
    assert other.fingerprint != MACHINE.fingerprint
    assert differences(MACHINE, other) == words


def test_a_value_that_moves_to_another_field_changes_the_fingerprint() -> None:
    assert (
        replace(MACHINE, cuda=None, cudnn="13.0").fingerprint != replace(MACHINE, cuda="13.0", cudnn=None).fingerprint
    )


def test_damaged_environments_are_refused() -> None:
    data = MACHINE.to_json()
    with pytest.raises(UsageError, match="the environment has no key 'colour': did you mean 'cores'"):
        Environment.from_json({**data, "colour": "red"})
    with pytest.raises(UsageError, match="the environment lacks the key 'torch'"):
        Environment.from_json({name: value for name, value in data.items() if name != "torch"})
    with pytest.raises(UsageError, match="the environment: gpus 1 lacks the key 'uuid'"):
        Environment.from_json({**data, "gpus": [{"name": "H100"}]})
    with pytest.raises(UsageError, match="the environment: gpus must be a list, not null"):
        Environment.from_json({**data, "gpus": None})


def test_environments_of_before_pinning_are_read_and_keep_their_fingerprint() -> None:
    data = {name: value for name, value in MACHINE.to_json().items() if name != "pinned"}
    assert Environment.from_json(data) == MACHINE
    # As the version before wrote it for the same machine.
    assert MACHINE.fingerprint == "3d344527d14efefa"
    pinned = replace(MACHINE, pinned="0")
    assert Environment.from_json(json.loads(json.dumps(pinned.to_json()))) == pinned


def test_this_machine_is_recognised() -> None:
    here = current_environment()
    assert here == current_environment()
    assert here.torch == torch.__version__
    assert here.threads == torch.get_num_threads()
    assert here.cores == len(os.sched_getaffinity(0))
    assert here.memory_bytes > 2**28
    assert here.pyprof != "not installed"
    assert here.transformers[0].isdigit()
    assert here.cpu


def test_the_number_of_threads_sets_runs_apart() -> None:
    before = torch.get_num_threads()
    here = current_environment()
    try:
        torch.set_num_threads(before + 1)
        assert differences(here, current_environment()) == [f"threads: {before} against {before + 1}"]
    finally:
        torch.set_num_threads(before)


def test_the_processor_is_read_as_the_kernel_tells_it(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel\t\t: 1\nmodel name\t: Intel(R) Xeon(R) Gold\nmodel name\t: no\n"
    )
    assert cpu_model(tmp_path / "cpuinfo") == "Intel(R) Xeon(R) Gold"
    assert cpu_model(tmp_path / "missing") != ""


@pytest.mark.parametrize(
    "text",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version: 12\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build\n",
    ],
)
def test_the_driver_is_read_from_the_kernel(tmp_path: Path, text: str) -> None:
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == "550.54.14"
    assert driver_version(tmp_path / "missing") is None


def test_visible_cards_are_listed() -> None:
    card = SimpleNamespace(name="NVIDIA H100", uuid="1234", major=9, minor=0, total_memory=85)
    cuda = SimpleNamespace(device_count=lambda: 2, get_device_properties=lambda index: card)
    assert visible_gpus(cuda) == (Gpu("NVIDIA H100", "1234", "9.0", 85),) * 2


def test_the_light_part_of_the_room_loads_no_torch() -> None:
    program = (
        "import sys\n"
        "from pyprof.timing import compare, sampling, watch\n"
        "from pyprof import device, quantity, records, statistics\n"
        "from pyprof.machine import check, environment, pin, settings, steadiness\n"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0

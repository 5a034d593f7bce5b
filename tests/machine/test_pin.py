from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from machine_files import MachineFiles

from pyprof.errors import UsageError
from pyprof.machine import pin
from pyprof.timing import cores


@pytest.fixture
def files(tmp_path: Path) -> MachineFiles:
    return MachineFiles(tmp_path)


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cores, pin):
        monkeypatch.setattr(module, "usable_cores", lambda: list(range(8)))


@pytest.mark.parametrize(
    ("text", "found", "spoken"),
    [
        ("0", [0], "0"),
        ("0,2-3", [0, 2, 3], "0,2-3"),
        (" 3 , 1 - 2,2", [1, 2, 3], "1-3"),
        ("5-5,7", [5, 7], "5,7"),
        ("0-1,3,5-7", [0, 1, 3, 5, 6, 7], "0-1,3,5-7"),
    ],
)
def test_lists_of_processors_are_read_and_written(text: str, found: list[int], spoken: str) -> None:
    assert cores.parse(text) == found
    assert cores.spoken(found) == spoken
    assert cores.parse(spoken) == found


@pytest.mark.parametrize("text", ["", "x", "1,", "3-1", "-1", "1-", "1.5", "0x2", "1-2-3", "all"])
def test_other_texts_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="is no list of processors: write their numbers such as 0,2-3"):
        cores.parse(text)
    if hasattr(os, "sched_setaffinity"):
        with pytest.raises(UsageError, match="--pin takes processors such as 0,2-3 or the word auto, not"):
            pin.apply(text)


def test_processors_that_there_are_not_are_refused(eight: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda task, cores: pytest.fail("pinned"), raising=False)
    with pytest.raises(UsageError, match="--pin 6-9 asks for 8-9, but this process may use 0-7: choose from those"):
        pin.apply("6-9")


def test_a_system_that_cannot_pin_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert pin.apply(None) is None
    with pytest.raises(UsageError, match="this system cannot pin a process to processors: leave --pin out"):
        pin.apply("0")


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[int]]]:
    """The calls that set an affinity; the environment is put back afterwards."""
    calls: list[tuple[int, list[int]]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda task, cores: calls.append((task, cores)), raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in (pin.VARIABLE, "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "")
    return calls


def test_all_threads_are_pinned_and_libraries_get_as_many(
    eight: None, pinned: list[tuple[int, list[int]]], files: MachineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in (70, 71):
        files.write(f"proc/self/task/{task}/stat", "")
    assert pin.apply("4-5,7", root=files.root) == "4-5,7"
    assert sorted(pinned) == [(70, [4, 5, 7]), (71, [4, 5, 7])]
    assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "3"
    assert pin.pinned() is None  # the affinity isn't really set here
    monkeypatch.setattr(pin, "usable_cores", lambda: [4, 5, 7])
    assert pin.pinned() == "4-5,7"


@pytest.mark.parametrize(
    ("variable", "threads", "expected"),
    [("", None, "4"), ("2", None, "2"), ("8", None, "4"), ("2,3", None, "4"), ("2", 6, "6")],
)
def test_the_threads_are_those_that_were_asked_for(
    eight: None,
    pinned: list[tuple[int, list[int]]],
    files: MachineFiles,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    threads: int | None,
    expected: str,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    pin.apply("0-3", threads, root=files.root)
    assert os.environ["OMP_NUM_THREADS"] == expected
    assert pinned == [(0, [0, 1, 2, 3])]


def busy(files: MachineFiles, shares: list[float]) -> Callable[[float], None]:
    """A wait of 100 ticks in which the processors are busy for these shares of the time."""
    files.ticks(0, 0, cores=dict.fromkeys(range(8), (1000, 5000)))

    def wait(seconds: float) -> None:
        later = {core: (1000 + round(100 * share), 5100 - round(100 * share)) for core, share in enumerate(shares)}
        files.ticks(0, 0, cores=later)

    return wait


def share_cores(files: MachineFiles) -> None:
    """Four physical cores of two processors each: 0 with 4, 1 with 5, ..."""
    for core in range(8):
        files.core(core, "topology/thread_siblings_list", f"{core % 4},{core % 4 + 4}")


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ([0.0] * 8, [0, 1, 2, 3]),
        ([0.9, 0, 0, 0, 0, 0, 0, 0], [1, 2, 3]),  # a busy neighbour on the other half spoils both
        ([0.03, 0.05, 0, 0, 0, 0, 0.08, 0], [2, 3, 4, 5]),
        ([0.7, 0.9, 0.79, 0.95, 0, 0, 0, 0], [4, 6]),  # none is quiet: the quietest, and all within a tenth
        ([0.08, 0, 0, 0, 0.08, 0, 0, 0], [1, 2, 3]),  # two halves that are a little busy
        ([0.6] * 8, [0, 1, 2, 3]),
    ],
)
def test_auto_takes_the_quiet_cores_one_processor_of_each(
    eight: None, files: MachineFiles, shares: list[float], found: list[int]
) -> None:
    share_cores(files)
    assert pin.quietest(files.root, sleep=busy(files, shares)) == found


def test_a_processor_is_busy_with_interrupts_and_while_it_is_withheld(files: MachineFiles) -> None:
    files.write("proc/stat", "cpu  1 2 3 40 50 6 7 8 9 10\ncpu3 1 2 3 40 50 6 7 8 9 10\nintr 5")
    assert cores.busy_ticks(files.root) == {3: (27, 117)}
    assert cores.busy_shares({3: (7, 17), 4: (0, 0)}, {3: (27, 117)}) == {3: 0.2}


def test_a_neighbour_that_may_not_be_used_counts_too(files: MachineFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pin, "usable_cores", lambda: [0, 1])
    share_cores(files)
    assert pin.quietest(files.root, sleep=busy(files, [0, 0.2, 0, 0, 0.9, 0, 0, 0])) == [1]


def test_auto_takes_all_cores_where_nothing_is_known(eight: None, files: MachineFiles) -> None:
    assert pin.quietest(files.root, sleep=lambda seconds: None) == list(range(8))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_a_child_process_knows_that_it_was_pinned() -> None:
    core = max(os.sched_getaffinity(0))
    child = "from pyprof.machine.environment import pinned; import os; print(pinned(), os.environ['OMP_NUM_THREADS'])"
    code = (
        "import subprocess, sys, os; from pyprof.machine import pin\n"
        f"pin.apply('{core}'); print(sorted(os.sched_getaffinity(0)), flush=True)\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
        f"os.environ['{pin.VARIABLE}'] = '{core + 1}'; print(pin.pinned())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:3] == [f"[{core}]", f"{core} 1", "None"]

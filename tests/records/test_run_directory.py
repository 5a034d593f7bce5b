"""The run directory: whole lines, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from simulated_machine import Simulated, make_environment, make_study, quadratic

from pyprof.errors import IncompleteError, UsageError
from pyprof.records import store
from pyprof.records.case import Case
from pyprof.records.executor import Outcome
from pyprof.records.run_directory import differences, read, read_layers
from pyprof.records.store import Store
from pyprof.study.resolve import resolve

CASES = [Case("bert", length) for length in (128, 256, 512)]


def outcome(case: Case) -> Outcome:
    return Simulated(quadratic).measure(case)


def write(directory: Path, cases: list[Case] = CASES) -> None:
    with Store(directory) as writer:
        writer.begin(make_study(), resolve(make_study()), make_environment())
        for case in cases:
            measured = outcome(case)
            writer.append(measured.record, measured.layers)


def cut(path: Path, count: int) -> None:
    os.truncate(path, path.stat().st_size - count)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "run")
    run = read(tmp_path / "run")
    assert run.study == make_study()
    assert run.environment == make_environment()
    assert list(run.records.values()) == [outcome(case).record for case in CASES]
    assert list(run.records) == [case.key for case in CASES]
    assert run.warnings == ()
    layers = read_layers(tmp_path / "run", CASES[1].key)
    assert layers == {"path": ["", "layer"], "own_forward_seconds": [0.0, quadratic(CASES[1])]}
    assert read_layers(tmp_path / "run", "0" * 16) is None


def test_each_record_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    with Store(tmp_path) as writer:
        writer.begin(make_study(), resolve(make_study()), make_environment())
        for count, case in enumerate(CASES, start=1):
            writer.append(outcome(case).record, outcome(case).layers)
            assert len(read(tmp_path).records) == count


def test_the_last_record_of_a_case_counts(tmp_path: Path) -> None:
    write(tmp_path)
    with Store(tmp_path, resume=True) as writer:
        failed = Simulated(quadratic)
        failed.failing["bert", 128] = "error"
        writer.append(failed.measure(CASES[0]).record, {"path": ["new"]})
    run = read(tmp_path)
    assert run.records[CASES[0].key].status == "error"
    assert len(run.records) == 3
    assert read_layers(tmp_path, CASES[0].key) == {"path": ["new"]}


@pytest.mark.parametrize("torn", [1, 2, 20, 300])
def test_a_torn_last_line_is_left_out_and_repaired(tmp_path: Path, torn: int) -> None:
    write(tmp_path)
    cut(tmp_path / "records.jsonl", torn)
    run = read(tmp_path)
    whole = 3 if torn == 1 else 2  # without its newline alone the last record is still whole
    assert len(run.records) == whole
    assert len(run.warnings) == 3 - whole
    assert all("torn" in warning for warning in run.warnings)
    with Store(tmp_path, resume=True) as writer:
        assert writer.previous == run
        writer.append(outcome(CASES[2]).record)
    repaired = read(tmp_path)
    assert set(repaired.records) == {case.key for case in CASES}
    assert repaired.warnings == ()
    content = (tmp_path / "records.jsonl").read_bytes()
    assert content.endswith(b"\n")
    assert len(content.splitlines()) == whole + 1


def test_reading_repairs_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    cut(tmp_path / "records.jsonl", 20)
    before = (tmp_path / "records.jsonl").read_bytes()
    read(tmp_path)
    assert (tmp_path / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "damage", [b"{]", b"\xff\xfe\x00", b"[1]", b'{"schema": 1, "case": {}}', b'{"schema": 1}', b"{}"]
)
def test_a_damaged_line_in_the_middle_costs_only_itself(tmp_path: Path, damage: bytes) -> None:
    write(tmp_path)
    path = tmp_path / "records.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]) + b"\n")
    run = read(tmp_path)
    assert list(run.records) == [CASES[0].key, CASES[2].key]
    (warning,) = run.warnings
    assert warning.startswith(f"line 2 of {path} is ")


def test_another_schema_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"schema":2', b'"schema":99'))
    with pytest.raises(UsageError, match="was written with schema 99 and this pyprof reads schemas 1 to 2"):
        read(tmp_path)


def test_a_directory_that_holds_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        read(tmp_path)
    with pytest.raises(UsageError, match="holds no run to go on with"):
        Store(tmp_path, resume=True)
    with pytest.raises(UsageError, match="holds no run"):
        read(tmp_path / "missing")


def test_a_directory_that_holds_a_run_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(UsageError, match="already holds a run: go on with it by --resume, or choose another -o"):
        Store(tmp_path)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("names", [("notes.md",), ("a.py", "b.py", "study.toml.partial"), (".git",)])
def test_a_directory_of_something_else_is_not_mixed_with_a_run(
    tmp_path: Path, names: tuple[str, ...], resume: bool
) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    more = " and 1 more" if len(names) > 1 else ""
    with pytest.raises(UsageError) as caught:
        Store(tmp_path, resume)
    assert str(caught.value) == f"{tmp_path} holds {names[0]!r}{more} and no run: choose a new directory for -o"
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_what_ended_before_it_began_can_begin_again(tmp_path: Path) -> None:
    Store(tmp_path).close()
    (tmp_path / "study.toml.partial").write_text("half")
    with pytest.raises(UsageError, match="holds no run to go on with"):
        Store(tmp_path, resume=True)
    write(tmp_path)
    assert len(read(tmp_path).records) == len(CASES)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Store(tmp_path / "file" / "run")


def test_two_writers_are_kept_apart(tmp_path: Path) -> None:
    with Store(tmp_path) as writer:
        writer.begin(make_study(), resolve(make_study()), make_environment())
        with pytest.raises(UsageError, match=r"another process \(.*\) writes to"):
            Store(tmp_path, resume=True)
    Store(tmp_path, resume=True).close()


def test_a_damaged_environment_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "environment.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in data.items() if name != "cpu"}))
    with pytest.raises(UsageError, match="lacks the key 'cpu'"):
        read(tmp_path)
    path.write_text("[")
    with pytest.raises(UsageError, match="is not a JSON object"):
        read(tmp_path)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size: what a full disk looks like, from a real system call."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_whole_lines_and_can_be_gone_on_from(tmp_path: Path) -> None:
    write(tmp_path, CASES[:2])
    records, layers = tmp_path / "records.jsonl", tmp_path / "layers.jsonl"
    sizes = records.stat().st_size, layers.stat().st_size
    with Store(tmp_path, resume=True) as writer:
        last = outcome(CASES[2])
        with largest_file(records.stat().st_size + 100), pytest.raises(IncompleteError, match="go on with --resume"):
            writer.append(last.record, last.layers)
        assert (records.stat().st_size, layers.stat().st_size) == sizes
        writer.append(last.record, last.layers)
    assert len(read(tmp_path).records) == 3
    assert read(tmp_path).warnings == ()


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_no_space_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    write(tmp_path, CASES[:2])
    before = (tmp_path / "records.jsonl").read_bytes()

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Store(tmp_path, resume=True) as writer:
        monkeypatch.setattr(store.os, call, refuse)
        with pytest.raises(IncompleteError, match="No space left on device") as caught:
            writer.append(outcome(CASES[2]).record, outcome(CASES[2]).layers)
        monkeypatch.undo()
    assert caught.value.exit_code == 3
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_differences_between_studies() -> None:
    stored = make_study(device="cpu", threads=2, memory_budget=2**30, time_budget=60)
    assert differences(stored, make_study(description="other words", time_budget=600)) == []
    assert differences(stored, make_study(threads=1)) == ["threads"]
    assert differences(stored, make_study(seed=1, modes=["train"], measure={"min_samples": 7})) == [
        "modes",
        "measure",
        "seed",
    ]


def test_ten_thousand_records_are_read(tmp_path: Path) -> None:
    write(tmp_path, CASES[:1])
    (line,) = (tmp_path / "records.jsonl").read_text().splitlines()
    data = json.loads(line)
    with (tmp_path / "records.jsonl").open("w") as stream:
        for length in range(1, 10_001):
            data["case"]["length"] = length
            data["key"] = Case("bert", length).key
            stream.write(json.dumps(data) + "\n")
    assert len(read(tmp_path).records) == 10_000

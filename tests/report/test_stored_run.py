"""A run stands by itself: its report is what it was, whatever became of the code, the registry and the machine."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from simulated_machine import Simulated, make_study

from pyprof.models import entries, registry
from pyprof.records import run_directory
from pyprof.records.record import SCHEMA
from pyprof.report import terminal
from pyprof.report.as_json import document
from pyprof.report.run import view_of
from pyprof.study.run import run_study

STORED = Path(__file__).parents[1] / "stored_runs"
RENDER = """
import io, json, sys
from pathlib import Path

class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "torchinfo"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuses())
from pyprof.cli.main import main
sys.exit(main(["report", sys.argv[1], *sys.argv[2:]]))
"""


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The directory of a run that pyprof 0.1 wrote, of a simulated study with failures, notes, noise and throughput."""
    with tarfile.open(STORED / "schema1.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "fixed"


def report(directory: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(document(view_of(run_directory.read(directory)))))
    return plain


def text(directory: Path) -> str:
    file = io.StringIO()
    terminal.write(view_of(run_directory.read(directory)), Console(file=file, width=100))
    return file.getvalue()


def changes(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Where something of the earlier document is missing or another in the later one; what is new is let pass."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            yield from changes(value, after[name], f"{place}.{name}") if name in after else [f"{place}.{name} is gone"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (was, now) in enumerate(zip(before, after, strict=True)):
            yield from changes(was, now, f"{place}[{index}]")
    elif before != after:
        yield f"{place}: {before!r} became {after!r}"


def test_a_run_of_schema_1_has_the_report_that_it_had(stored: Path) -> None:
    before = json.loads(gzip.decompress((STORED / "schema1.json.gz").read_bytes()))
    assert list(changes(before, report(stored))) == [f".schema: 1 became {SCHEMA}"]


def test_changes_are_seen() -> None:
    before = {"a": [1, {"b": 2.0}], "c": None}
    assert list(changes(before, {"a": [1, {"b": 2.5}], "d": 3})) == [".a[1].b: 2.0 became 2.5", ".c is gone"]


def test_a_migrated_run_is_not_written_to(stored: Path) -> None:
    before = {path.name: path.read_bytes() for path in stored.iterdir()}
    report(stored)
    assert {path.name: path.read_bytes() for path in stored.iterdir()} == before


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_without_torch_and_transformers_the_bytes_are_the_same(stored: Path, arguments: tuple[str, ...]) -> None:
    plain = [sys.executable, "-m", "pyprof", "report", str(stored), *arguments]
    bare = [sys.executable, "-c", RENDER, str(stored), *arguments]
    ordinary, without = (subprocess.run(command, capture_output=True, check=True).stdout for command in (plain, bare))
    assert len(ordinary) > 10_000
    assert without == ordinary


def test_the_registry_may_change_and_a_checkpoint_may_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(STORED, checkpoint)  # any directory will do, as nothing is loaded
    block = {"vanilla": "vit", "variants": ["swin"], "lengths": [224, 384], "implementations": ["then", "now"]}
    study = make_study(comparison=[block], weights={"swin": str(checkpoint)})
    machine = Simulated(lambda case: case.length * {"vit": 2e-6, "swin": 1e-6}[case.model])
    run_study(study, tmp_path / "run", executor=machine, clock=machine.clock)
    before = report(tmp_path / "run"), text(tmp_path / "run")
    shutil.rmtree(checkpoint)
    changed = tuple(
        replace(entry, attentions=("flash", *entry.attentions), unit="patch", family="another", vanilla=None)
        for entry in entries.ENTRIES
    )
    for module in (entries, registry):
        monkeypatch.setattr(module, "ENTRIES", changed)
    assert registry.resolve("vit", "best") == "flash"
    assert (report(tmp_path / "run"), text(tmp_path / "run")) == before
    assert {line["comparison"]["vanilla_attention"] for line in before[0]["modalities"][0]["tipping"]} == {
        "eager",
        "sdpa",
    }


def test_a_resumed_run_stands_for_what_it_stood_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = {"vanilla": "vit", "variants": ["swin"], "lengths": [224, 384], "implementations": ["now"]}
    study = make_study(comparison=[block])
    machine = Simulated(lambda case: case.length * 1e-6)
    machine.broken[3] = KeyboardInterrupt()
    with pytest.raises(Exception, match="interrupted"):
        run_study(study, tmp_path / "run", executor=machine, clock=machine.clock)
    changed = tuple(replace(entry, attentions=("eager",)) for entry in entries.ENTRIES)
    for module in (entries, registry):
        monkeypatch.setattr(module, "ENTRIES", changed)
    again = Simulated(lambda case: case.length * 1e-6)
    result = run_study(study, tmp_path / "run", resume=True, executor=again, clock=again.clock)
    assert {record.case.attention for record in result.records.values()} == {"sdpa"}
    assert len(result.records) == 4


def test_damage_to_what_was_resolved_is_one_sentence(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pyprof.cli.main import main

    for content in ("[]", "{", '{"schema": 99}', '{"schema": 2}', '{"schema": 2, "pairings": 3}'):
        (stored / run_directory.RESOLVED).write_text(content)
        assert main(["report", str(stored)]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1

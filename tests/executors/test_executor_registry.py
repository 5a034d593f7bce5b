"""Executors by name, and what the command line asks of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sleeping_run import sleeping_study

from pyprof.cli.main import build_parser, main
from pyprof.errors import UsageError
from pyprof.executors import registry
from pyprof.executors.devices import DevicesExecutor
from pyprof.executors.kind import Asked, Kind, Option
from pyprof.executors.local import OneWorker
from pyprof.quantity import parse_duration
from pyprof.records import toml, validate
from pyprof.records.executor import Executor

KIND = Kind(
    "queue",
    "a queue",
    lambda asked: OneWorker(),
    options=(
        Option("time", validate.quantity(parse_duration, "2 h", 1e9), "how long a job may take"),
        Option("partition", validate.text, "where jobs go"),
    ),
)


def test_every_executor_is_one_of_its_name(tmp_path: Path) -> None:
    assert isinstance(registry.create("local", Asked(tmp_path)), OneWorker)
    assert isinstance(registry.create("devices", Asked(tmp_path, workers="2")), DevicesExecutor)
    for name, kind in registry.KINDS.items():
        assert kind.name == name
        assert "\n" not in kind.summary


def test_options_are_checked_by_name() -> None:
    assert registry.options_of(KIND, ["time=2h", "partition=gpu=a"]) == {"time": 7200.0, "partition": "gpu=a"}


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("time", "is given as NAME=VALUE, not 'time'"),
        ("=3", "is given as NAME=VALUE"),
        ("tme=3", "has no option 'tme': did you mean 'time'"),
        ("time=long", "--executor-option time"),
        ("partition=", "--executor-option partition must be a text"),
    ],
)
def test_what_is_no_option_is_said(pair: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.options_of(KIND, [pair])
    assert says in str(caught.value)
    with pytest.raises(UsageError, match="gives time twice"):
        registry.options_of(KIND, ["time=1", "time=2"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--executor", "device"], "there is no executor 'device' among local, devices"),
        (["--workers", "2"], "--workers is of --executor devices and others"),
        (["--executor", "devices", "--device", "cpu"], "needs --workers"),
        (["--executor", "devices", "--device", "cpu", "--workers", "999"], "asks for more sets than the"),
        (["--executor", "devices", "--executor-option", "time=3"], "has no option 'time': it has none"),
        (["--executor", "devices", "--in-process"], "measures in this process alone"),
    ],
)
def test_wrong_use_is_one_sentence(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(toml.dumps(sleeping_study(1).to_table()))
    assert main(["study", str(study), "-o", str(tmp_path / "run"), *options]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1


def test_the_help_says_how_to_choose(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--help"]) == 0
    assert "--executor NAME" in capsys.readouterr().out
    assert build_parser().parse_args(["study", "--executor-option", "a=b"]).executor_option == ["a=b"]


def test_one_worker_is_an_executor() -> None:
    executor: Executor = OneWorker()
    assert (executor.name, tuple(executor.keeps)) == ("local", ())

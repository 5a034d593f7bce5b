"""A run whose files hold valid JSON that means nothing: the line, the field, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic
from simulated_machine import make_environment, make_study

from pyprof.errors import UsageError
from pyprof.records.noise import Noise
from pyprof.records.record import Record
from pyprof.records.rounds import Rounds
from pyprof.records.run_directory import MOST_WARNINGS, read, read_layers
from pyprof.records.store import Store
from pyprof.study.resolve import resolve

LINE: dict[str, Any] = json.loads(json.dumps(synthetic.record("bert", "eager", 512, "infer", samples=8).to_json()))
LINE["indicators"]["latency"]["rounds"] = Rounds("a", noise=Noise(1.0, 8, frequency=(1.0, 2.0))).to_json()
DEEP = "[" * 100_000 + "]" * 100_000
NESTED: Any = [[[[[[[[[[1]]]]]]]]]]


def at(*path: str | int) -> Callable[[dict[str, Any], Any], None]:
    def put(line: dict[str, Any], value: Any) -> None:
        place: Any = line
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return put


def written(directory: Path, *lines: str | bytes) -> Path:
    """A run with these lines beside one good one, which stands in the middle of them."""
    with Store(directory) as store:
        store.begin(make_study(), resolve(make_study()), make_environment())
        store.append(synthetic.record("bert", "eager", 256, "infer"))
    good = (directory / "records.jsonl").read_bytes()
    contents = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (directory / "records.jsonl").write_bytes(good + b"\n".join(contents) + b"\n")
    return directory


def test_the_record_itself_is_read() -> None:
    assert Record.from_json(LINE).case.key == LINE["key"]


LATENCY = "indicators", "latency"


DAMAGE = [
    (("case", "length"), {}, "case: length must be a whole number, not a table"),
    (("case", "length"), 512.0, "case: length must be a whole number, not 512.0"),
    (("case", "length"), 0, "case: length must be at least 1, not 0"),
    (("case", "length"), 10**30, "case: length must be at most 2147483647"),
    (("case", "model"), "", "case: model must be a text that is not empty"),
    (("case", "model"), "bert\x1b[2J", "case: model must be a text of one line without control characters"),
    (("case", "batch"), "all", "case: batch must be a whole number, not 'all'"),
    (("case", "mode"), "trian", "case: mode has no mode 'trian': did you mean 'train'?"),
    (("case", "compiled"), 1, "case: compiled must be true or false, not 1"),
    (("case", "colour"), "red", "case has no key 'colour'"),
    (("case",), [], "case must be a table, not a list"),
    (("seconds",), None, "seconds must be a number, not null"),
    (("seconds",), -1, "seconds must be at least 0, not -1"),
    (("seconds",), True, "seconds must be a number, not True"),
    (("status",), "fine", "status has no status 'fine'"),
    (("notes",), "one", "notes must be a list, not 'one'"),
    (("notes",), [1], "notes 1 must be a text, not 1"),
    (("step_seconds",), {}, "step_seconds must be a number, not a table"),
    ((*LATENCY, "samples", 0), 0, "indicators: latency: samples must be above 0 where they were taken in rounds"),
    ((*LATENCY, "samples", 2), -5, "indicators: latency: samples 3 must be at least 0, not -5"),
    ((*LATENCY, "samples", 2), None, "indicators: latency: samples 3 must be a whole number, not null"),
    ((*LATENCY, "samples", 2), 2**63, "indicators: latency: samples 3 must be at most"),
    ((*LATENCY, "samples"), "12", "indicators: latency: samples must be a list, not '12'"),
    ((*LATENCY, "value"), "1", "indicators: latency: value must be a number, not '1'"),
    ((*LATENCY, "value"), 1e-300, "indicators: latency: value must be a number that can be measured"),
    ((*LATENCY, "value"), 10**400, "latency: value must be a number that can be measured, not a number of 1329 bits"),
    ((*LATENCY, "low"), 1e9, "indicators: latency: low (1000000000.0) is above high"),
    ((*LATENCY, "detail"), {"batch": 0}, "indicators: latency: detail: batch must be at least 1, not 0"),
    ((*LATENCY, "detail"), {"a": NESTED}, "lists and tables that are nested too deeply"),
    ((*LATENCY, "detail"), None, "indicators: latency: detail must be a table, not null"),
    ((*LATENCY, "rounds", "hits"), [0, 1], "indicators: latency: rounds: hits has 2 entries for 8 samples"),
    ((*LATENCY, "rounds", "yardstick"), [0] * 8, "rounds: yardstick 1 must be at least 1, not 0"),
    ((*LATENCY, "rounds", "confidence"), 1, "rounds: confidence must be above 0 and below 1, not 1"),
    ((*LATENCY, "rounds", "noise", "frequency"), [1], "noise: frequency must be a pair of numbers, not 1"),
    ((*LATENCY, "rounds", "noise"), 3, "rounds: noise must be a table, not 3"),
    (("kinds", "head"), None, "kinds: head must be a table, not null"),
    (("key",), "0" * 16, "key is '0000000000000000', which is not that of its case"),
]


@pytest.mark.parametrize(
    ("schema", "path", "value", "words"),
    [
        (schema, *damage)
        for damage in DAMAGE
        for schema in (1, 2)
        if schema == 2 or not ({"rounds"} & set(damage[0]) or "rounds" in damage[2])  # schema 1 had none
    ],
)
def test_a_damaged_field_costs_its_record_and_is_named(
    tmp_path: Path, schema: int, path: tuple[str | int, ...], value: Any, words: str
) -> None:
    line = json.loads(json.dumps(LINE))
    if schema == 1:
        line["schema"] = 1
        for reading in line["indicators"].values():
            del reading["rounds"]
    at(*path)(line, value)
    run = read(written(tmp_path, json.dumps(line)))
    assert [record.case.length for record in run.records.values()] == [256]
    (warning,) = run.warnings
    assert warning.startswith(f"line 2 of {tmp_path / 'records.jsonl'} is left out: the ")
    assert words in warning
    assert warning.isprintable()


@pytest.mark.parametrize("missing", ["case", "indicators", "kinds", "notes", "status", "seconds"])
def test_a_missing_field_is_named(tmp_path: Path, missing: str) -> None:
    line = {name: value for name, value in LINE.items() if name != missing}
    (warning,) = read(written(tmp_path, json.dumps(line))).warnings
    assert f"lacks the key '{missing}'" in warning


TEXT = json.dumps(LINE)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (TEXT.replace(f'"seconds": {LINE["seconds"]}', '"seconds": 1e400'), "seconds must be a number that can be"),
        (TEXT.replace(f'"seconds": {LINE["seconds"]}', '"seconds": NaN'), "NaN is no number"),
        (TEXT.replace(f'"seconds": {LINE["seconds"]}', '"seconds": -Infinity'), "-Infinity is no number"),
        (TEXT.replace('"seconds": ', '"seconds": 1, "seconds": '), "it has 'seconds' twice"),
        (TEXT.replace(f'"seconds": {LINE["seconds"]}', f'"seconds": {DEEP}'), "nested too deeply"),
        (TEXT.replace(f'"seconds": {LINE["seconds"]}', f'"seconds": {"9" * 5000}'), "is not a JSON object"),
        (TEXT[:200], "at character 201"),
        (TEXT.encode("utf-16"), "it is not text in UTF-8"),
        (b"\xff" + TEXT.encode(), "it is not text in UTF-8"),
        ("null", "it holds null"),
        ("[]", "it holds a list"),
        ("", "is not a JSON object"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str | bytes, words: str) -> None:
    run = read(written(tmp_path, line))
    assert len(run.records) == 1
    assert words in run.warnings[0]
    assert all(warning.isprintable() and len(warning) < 500 for warning in run.warnings)


def test_a_mark_of_byte_order_does_no_harm(tmp_path: Path) -> None:
    run = read(written(tmp_path, b"\xef\xbb\xbf" + TEXT.encode()))
    assert (len(run.records), run.warnings) == (2, ())


def test_many_damaged_lines_are_counted(tmp_path: Path) -> None:
    run = read(written(tmp_path, *["{}"] * (MOST_WARNINGS + 5)))
    assert len(run.warnings) == MOST_WARNINGS + 1
    assert run.warnings[-1].startswith("5 more lines")


def test_one_record_of_another_schema_costs_only_itself(tmp_path: Path) -> None:
    run = read(written(tmp_path, json.dumps({**LINE, "schema": 77})))
    assert len(run.records) == 1
    assert "it has schema 77" in run.warnings[0]


@pytest.mark.parametrize(
    ("name", "path", "value", "words"),
    [
        ("resolved.json", ("pairings", 0, "block"), 7, "has a pairing of comparison 8, which study.toml has not"),
        ("resolved.json", ("pairings", 0, "vanilla"), None, "pairings 1: vanilla must be a table, not null"),
        ("resolved.json", ("pairings", 0, "vanilla", "model"), "gpt", "models lacks 'gpt', which a pairing names"),
        ("resolved.json", ("models", "bert", "unit"), 3, "models: bert: unit must be a text"),
        ("resolved.json", ("models",), [], "models must be a table, not a list"),
        ("resolved.json", ("indicators", 0, "better"), "more", "indicators 1: better has no direction 'more'"),
        ("resolved.json", ("published", "shares"), 1e400, "is not a JSON object"),
        ("resolved.json", ("published", "source"), None, "published: source must be a text, not null"),
        ("environment.json", ("cores",), 0, "cores must be at least 1, not 0"),
        ("environment.json", ("gpus",), {}, "gpus must be a list, not a table"),
        ("environment.json", ("hostname",), 3, "hostname must be a text, not 3"),
    ],
)
def test_a_damaged_document_is_refused_in_one_sentence(
    tmp_path: Path, name: str, path: tuple[str | int, ...], value: Any, words: str
) -> None:
    directory = written(tmp_path)
    data = json.loads((directory / name).read_text())
    at(*path)(data, value)
    (directory / name).write_text(json.dumps(data))
    with pytest.raises(UsageError) as caught:
        read(directory)
    assert str(caught.value).startswith(str(directory / name))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_indicator_that_stands_twice_is_refused(tmp_path: Path) -> None:
    directory = written(tmp_path)
    data = json.loads((directory / "resolved.json").read_text())
    (directory / "resolved.json").write_text(json.dumps({**data, "indicators": data["indicators"] * 2}))
    with pytest.raises(UsageError, match="indicators has one of them twice"):
        read(directory)


def test_damaged_layers_are_one_sentence(tmp_path: Path) -> None:
    directory = written(tmp_path)
    (directory / "layers.jsonl").write_text('{"key": "1", "path": [1, 2], "calls": [1]}\n{"key": "2", "path": {}}\n')
    with pytest.raises(UsageError, match=r"line 1 of .*layers.jsonl has columns of different lengths"):
        read_layers(directory, "1")
    with pytest.raises(UsageError, match=r"line 2 of .*layers.jsonl: path must be a list, not a table"):
        read_layers(directory, "2")

"""Qualities that a user supplies stand beside what a run has measured: in its report, its page, its fronts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic
from simulated_machine import make_environment

from pyprof.cli.main import main
from pyprof.errors import UsageError
from pyprof.records import study as studies
from pyprof.records.reading import Reading
from pyprof.records.run_directory import read
from pyprof.records.store import Store
from pyprof.records.supplied import read_supplied, with_supplied

TABLE = """model,accuracy,accuracy_low,accuracy_high,perplexity:lower
bert,91.5,91.0,92.0,4.1
longformer,93.0,92.6,93.4,3.9
nystromformer,88.25,88.0,88.5,
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("run")
    with Store(tmp_path) as store:
        store.begin(studies.load("quick"), synthetic.RESOLVED, make_environment())
        for record in synthetic.quick():
            store.append(record)
    return tmp_path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(TABLE)
    return path


def test_every_record_of_a_model_has_its_figures(run: Path, table: Path) -> None:
    before = read(run)
    after = with_supplied(before, read_supplied(table))
    facts = {each.name: each for each in after.resolved.indicators}
    assert (facts["accuracy"].better, facts["accuracy"].exact) == ("higher", False)
    assert (facts["perplexity"].better, facts["perplexity"].exact) == ("lower", True)
    seen = set()
    for key, record in after.records.items():
        assert before.records[key].indicators.keys() <= record.indicators.keys()
        if record.status != "ok" or record.case.batch != 1:
            assert record == before.records[key]
        elif record.case.model == "longformer":
            assert record.indicators["accuracy"] == Reading(93.0, 92.6, 93.4)
            assert record.indicators["perplexity"] == Reading(3.9)
        elif record.case.model == "nystromformer":
            assert record.indicators["perplexity"].reason == "nobody has supplied the perplexity"
        elif record.case.model == "vit":
            assert record.indicators["accuracy"].value is None
        seen.add(record.case.model)
    assert {"longformer", "nystromformer", "vit"} <= seen
    assert read(run).records == before.records


def test_the_report_and_its_fronts_have_them(run: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--quality", str(table), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    (text,) = (part for part in document["modalities"] if part["name"] == "text")
    lines = [line for line in text["disagreements"] if "accuracy" in line["metrics"]]
    assert lines
    places = {
        place["column"]["model"]: place["standing"]
        for line in lines
        for front in line["fronts"]
        if front["other"] == "accuracy"
        for place in front["places"]
    }
    assert places["longformer"] == "member"
    sentences = " ".join(each["sentence"] for line in lines for each in line["contrasts"])
    assert "by accuracy" in sentences
    page = table.parent / "page.html"
    assert main(["report", str(run), "--quality", str(table), "--html", str(page)]) == 0
    assert "Accuracy" in page.read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no table of qualities"),
        ("accuracy\n1\n", "has no table of qualities"),
        ("model\nbert\n", "has no table of qualities"),
        ("model,a,a\nbert,1,2\n", "has no table of qualities"),
        ("model,my score\nbert,1\n", "has a column 'my score': name it by letters"),
        ("model,accuracy\nbert\n", "has 1 fields in row 2 under 2 heads"),
        ("model,accuracy\nbert,1\nbert,2\n", "names 'bert' twice"),
        ("model,accuracy\nbert,good\n", "says 'good' as accuracy of 'bert': no number"),
        ("model,accuracy\nbert,nan\n", "says 'nan' as accuracy of 'bert': no number"),
        ("model,accuracy,accuracy_low,accuracy_high\nbert,1,2,3\n", "outside of its interval"),
        ("model,accuracy\nbirt,1\n", "the run has no model 'birt': did you mean 'bert'?"),
        ("model,latency\nbert,1\n", "the run has an indicator 'latency' already"),
    ],
)
def test_what_is_no_such_table_is_one_sentence(run: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=r".") as raised:
        with_supplied(read(run), read_supplied(path))
    assert words in str(raised.value)


def test_a_file_that_is_not_there_is_wrong_use(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(run), "--quality", "none.csv"]) == 2
    assert "'none.csv' cannot be used" in capsys.readouterr().err
    Path("bytes.csv").write_bytes(b"model,a\n\xff,1\n")
    assert main(["report", str(run), "--quality", "bytes.csv"]) == 2
    assert "is no CSV file in UTF-8" in capsys.readouterr().err

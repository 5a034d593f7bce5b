"""The page of a run, as text: what it holds, and that nothing a user brought becomes markup."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import synthetic_run as synthetic
from page_runs import PATHS, layers, write_run
from simulated_machine import make_environment, make_study

from pyprof.cli.main import main
from pyprof.records import run_directory
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.place import Place
from pyprof.records.record import Record
from pyprof.records.run_directory import Run
from pyprof.report.charts.render import javascript
from pyprof.report.page.markup import Markup, data_script, markup, tag
from pyprof.report.page.report import report_page
from pyprof.report.page.trees import case_tree, trees_data
from pyprof.report.run import view_of
from pyprof.study.run import RunResult

STORED = Path(__file__).parents[1] / "stored_runs"
HOSTILE = "<script>alert(1)</script>\"'&<!--\u2028\u202e]]>${x}`\\"


class Page(HTMLParser):
    """The elements of a page: tags with their attributes, ids, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")
        if tag not in ("meta", "input", "br", "link", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def run_of(records: Iterator[Record] | list[Record], **more: Any) -> Run:
    given = list(records)
    study = make_study(comparison=[{"vanilla": "vit", "variants": ["swin"], "lengths": [224, 384]}])
    run = Run(Path("run"), study, synthetic.RESOLVED, make_environment(), {each.case.key: each for each in given})
    return replace(run, **more)


@pytest.fixture(scope="module")
def quick() -> Page:
    return Page(report_page([run_of(synthetic.quick())]))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    with tarfile.open(STORED / "schema1.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "fixed"


def test_the_sections_stand_in_order(quick: Page) -> None:
    sections = [attributes["id"] for name, attributes in quick.elements if name == "section"]
    assert sections == ["answer", "shares", "costs", "disagreement", "published", "records-section", "layers", "taken"]
    links = [
        attributes["href"] for name, attributes in quick.elements if name == "a" and attributes.get("class") is None
    ]
    assert {f"#{name}" for name in sections} <= set(links)


def test_the_answer_has_every_tipping_point_with_its_interval(quick: Page) -> None:
    view_lines = re.findall(r"([\d,]+) \[([\d,?]+)–([\d,?]+)\]", quick.text)
    assert len(view_lines) >= 6
    assert "longformer under bert eager" in quick.text
    assert "as published" in quick.text
    assert "now: each model's best implementation" in quick.text


def test_every_chart_has_its_place_its_words_and_its_data(quick: Page) -> None:
    plots = {attributes["data-chart"]: attributes for _, attributes in quick.elements if attributes.get("data-chart")}
    assert plots.keys() == quick.data["charts"].keys()
    assert all(len(attributes["aria-label"] or "") > 40 for attributes in plots.values())
    for chart in quick.data["charts"].values():
        assert chart["specs"]
        assert chart["tables"]


def test_ids_are_unique_and_controls_have_labels(quick: Page) -> None:
    ids = [attributes["id"] for _, attributes in quick.elements if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    inputs = [attributes for name, attributes in quick.elements if name == "input"]
    assert inputs
    assert all(attributes["type"] == "radio" for attributes in inputs)  # within a label, which `_choices` writes
    assert all(attributes.get("aria-label") for name, attributes in quick.elements if name == "section")


def test_nothing_is_loaded_from_anywhere(quick: Page) -> None:
    for name, attributes in quick.elements:
        assert name not in ("link", "iframe", "object", "img")
        assert attributes.keys().isdisjoint(("src", "action"))
        assert (attributes.get("href") or "#").startswith("#")
        assert not [each for each in attributes if each.startswith("on")]
    policy = next(attributes["content"] for _, attributes in quick.elements if attributes.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy


def test_all_records_are_in_the_table_with_one_unit_a_column(quick: Page) -> None:
    records, count = quick.data["records"], len(list(synthetic.quick()))
    assert {len(column) for column in records["columns"].values()} == {count}
    titles = [head["title"] for head in records["heads"]]
    assert titles[:2] == ["model", "length (tokens or pixels)"] or "model" in titles
    assert any(re.fullmatch(r"latency \((s|ms|µs)\)", title) for title in titles)
    assert f"{count:,} records" in quick.text
    oom = records["columns"]["status"].index("oom")
    assert records["columns"]["reason"][oom] == "needed 3.1 GiB and 2.9 GiB were free"


def test_the_table_names_the_place_of_each_case_where_there_were_several_workers() -> None:
    records = list(synthetic.quick())
    places = [Place("node1", f"cuda:{number % 2}") for number in range(len(records))]
    placed = [replace(each, place=place) for each, place in zip(records, places, strict=True)]
    data = Page(report_page([run_of(placed)])).data["records"]
    assert ("place", "place") in [(head["name"], head["title"]) for head in data["heads"]]
    assert set(data["columns"]["place"]) == {"cuda:0 of node1", "cuda:1 of node1"}
    assert "place" in data["chosen"]
    one = Page(report_page([run_of([replace(each, place=places[0]) for each in records])])).data["records"]
    assert one["same"]["place"] == "cuda:0 of node1"
    assert "place" not in Page(report_page([run_of(records)])).data["records"]["columns"]


def test_how_the_numbers_were_taken_says_what_failed_and_why(quick: Page) -> None:
    assert "needed 3.1 GiB and 2.9 GiB were free" in quick.text
    assert "simulated" in quick.text
    assert "until the 95 % interval is within" in quick.text


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "Nothing was measured that could be compared"),
        ([synthetic.missing(Case("bert", 62), "error", "it broke")], "it broke"),
        ([synthetic.record("bert", "eager", 62, "infer")], "1 records"),
    ],
    ids=["empty", "failures only", "one record"],
)
def test_a_run_of_little_has_a_page(records: list[Record], said: str) -> None:
    page = Page(report_page([run_of(records)]))
    assert said in page.text


def test_text_of_a_user_is_text_wherever_it_stands() -> None:
    facts = {**synthetic.FACTS, HOSTILE: ModelFacts("text", "token", "bert", HOSTILE, ("eager",), "eager")}
    pairing = synthetic.Pairing(0, HOSTILE, synthetic.Subject("bert", "eager"), synthetic.Subject(HOSTILE, "eager"))
    resolved = replace(synthetic.RESOLVED, models=facts, pairings=(*synthetic.RESOLVED.pairings, pairing))
    records = list(synthetic.quick())
    for length in (62, 542, 1562, 2582):
        one = synthetic.record("longformer", "eager", length, "infer")
        kinds = {(HOSTILE if kind == "head" else kind): cost for kind, cost in one.kinds.items()}
        records.append(replace(one, case=replace(one.case, model=HOSTILE), kinds=kinds, notes=(HOSTILE,)))
    records.append(synthetic.missing(Case(HOSTILE, 3362), "error", HOSTILE))
    environment = replace(make_environment(), cpu=HOSTILE)
    run = run_of(records, resolved=resolved, environment=environment, warnings=(HOSTILE,))
    text = report_page([run])
    page = Page(text)
    plain = Page(report_page([run_of(synthetic.quick())]))
    assert len(page.scripts) == len(plain.scripts)
    assert "alert(1)" in page.text
    names = {name for name, _ in page.elements}
    assert names == {name for name, _ in plain.elements} | (names & {"ul", "li", "h4"})
    assert "\u2028" not in text
    assert "\u202e" not in text
    assert "</script>alert" not in text
    assert any("alert(1)" in str(value) for value in page.data["records"]["columns"]["model"])
    expressions = re.findall(r'"(?:expr|test|signal|update|filter)":"([^"]*)"', page.scripts[0])
    assert not [each for each in expressions if "alert" in each]


def test_one_modality_in_two_units_has_charts_of_its_own_for_each() -> None:
    facts = {**synthetic.FACTS, "mine": ModelFacts("text", "byte", None, None, ("eager",), "eager")}
    records = list(synthetic.quick())
    for length in (62, 542, 1562):
        one = synthetic.record("bert", "eager", length, "infer")
        records.append(replace(one, case=replace(one.case, model="mine")))
    page = Page(report_page([run_of(records, resolved=replace(synthetic.RESOLVED, models=facts))]))
    assert "Text in tokens" in page.text
    assert "Text in bytes" in page.text
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(set(ids)) == len(ids)


def test_markup_is_only_what_was_made_as_such() -> None:
    assert markup("<b>", Markup("<i>"), 12_345, None, ["&", ["\u202e"]]) == "&lt;b&gt;<i>12,345&amp;\\u202e"
    assert tag("p", "x", class_='a"b', hidden=True, title=None, data_x=False) == '<p class="a&quot;b" hidden>x</p>'
    script = data_script("data", {"a": "</script><!--\u2028&"})
    assert script.count("<") == 2
    assert json.loads(script.partition(">")[2].rpartition("<")[0]) == {"a": "</script><!--\u2028&"}


def test_ten_thousand_records_fit(tmp_path: Path) -> None:
    records = [Record.from_json(json.loads(line)) for line in synthetic.large(10_000)]
    text = report_page([run_of(records)])
    assert len(text) < 12_000_000
    assert len(Page(text).data["records"]["columns"]["length"]) == 10_000


def test_the_layers_of_cases_come_with_the_names_of_a_model_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    page = Page(report_page([run]))
    trees = page.data["trees"]
    assert trees["all"] == len(trees["cases"]) == sum(bool(record.kinds) for record in run.records.values())
    assert len(trees["structures"]) == 1
    case = trees["cases"][0]
    fixed = trees["structures"][case["layers"]]
    assert fixed["path"] == list(PATHS)
    wanted = layers(run.records[case["key"].partition("-")[2]])
    assert case["own_forward_seconds"] == pytest.approx(
        [1e9 * each for each in wanted["own_forward_seconds"]], rel=1e-3
    )
    assert f"All {trees['all']} cases with layers are here" in page.text


def test_where_not_all_layers_fit_those_at_marked_lengths_come_first(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    whole = trees_data([("run", run, view_of(run))])
    some = trees_data([("run", run, view_of(run))], room=20_000)
    assert 24 < len(some["cases"]) < len(whole["cases"]) == some["all"]
    assert len(json.dumps([some["cases"], some["structures"]])) < 21_000
    shown = {run.records[case["key"].partition("-")[2]].case for case in some["cases"]}
    for model, attention in synthetic.MODELS:
        lengths = {case.length for case in shown if (case.model, case.attention) == (model, attention)}
        every = synthetic.LENGTHS[synthetic.FACTS[model].modality]
        assert lengths & set(every[1:-1]), "the middle of a curve comes before its ends"


def test_layers_of_which_little_is_known_are_a_tree(stored: Path) -> None:
    trees = Page(report_page([run_directory.read(stored)])).data["trees"]
    for fixed in trees["structures"]:
        assert [number for number, parent in enumerate(fixed["parent"]) if parent is None] == [0]


def test_trees_of_one_case_in_two_settings_have_names_of_their_own(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    key, record = next((key, record) for key, record in run.records.items() if record.kinds)
    kept = replace(record, case=replace(record.case, allocator="keep", dtype="bfloat16"))
    names = {case_tree(each, layers(each), {"head": "#d55e00"}).name for each in (record, kept)}
    assert len(names) == 2
    assert any(name.endswith("-bfloat16-keep") for name in names)
    assert key == record.case.key


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(each) for each in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_page_is_written_beside_the_run_and_its_path_told(stored: Path, cli: Any) -> None:
    assert cli("report", stored, "--html") == (0, f"{stored / 'report.html'}\n", "")
    assert Page((stored / "report.html").read_text()).text.startswith("pyprof:")
    assert not list(stored.glob("*.partial"))
    elsewhere = stored.parent / "x.html"
    code, out, err = cli("report", stored, "--html", elsewhere, "--json")
    assert code == 0
    assert json.loads(out)["schema"]
    assert elsewhere.name in err
    assert elsewhere.read_text() == (stored / "report.html").read_text()


def test_wrong_use_is_one_sentence(stored: Path, cli: Any) -> None:
    pages = (stored, stored / "none" / "x.html", stored / "study.toml")
    # Neither the run itself nor a file takes pictures.
    pictures = (stored, stored / "study.toml")
    wrong = [*(("--html", page) for page in pages), *(("--figures", place) for place in pictures), ("--format", "png")]
    before = (stored / "study.toml").read_bytes()
    for arguments in wrong:
        code, out, err = cli("report", stored, *arguments)
        assert (code, out) == (2, "")
        assert len(err.strip().splitlines()) == 1
    assert (stored / "study.toml").read_bytes() == before


def test_several_runs_are_held_against_the_first(stored: Path, tmp_path: Path, cli: Any) -> None:
    other = tmp_path / "other"
    shutil.copytree(stored, other)
    lines = [json.loads(line) for line in (other / "records.jsonl").read_text().splitlines()]
    for line in lines:
        latency = line["indicators"].get("latency") if line["status"] == "ok" else None
        if latency:
            for name in ("value", "low", "high"):
                latency[name] = latency[name] and latency[name] * 2
            latency["samples"] = [2 * sample for sample in latency["samples"]]
    (other / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    environment = json.loads((other / "environment.json").read_text())
    environment.pop("fingerprint", None)
    (other / "environment.json").write_text(json.dumps({**environment, "torch": "9.9"}))

    code, out, _ = cli("report", stored, other, "--json")
    document = json.loads(out)
    assert (code, [run["name"] for run in document["runs"]]) == (0, ["fixed", "other"])
    assert any("torch" in phrase for phrase in document["pairs"][0]["different"])
    ratios = [
        point["ratio"] for line in document["differences"] if line["metric"] == "latency" for point in line["points"]
    ]
    assert ratios
    assert ratios == pytest.approx([2.0] * len(ratios))

    code, out, _ = cli("report", stored, other)
    assert code == 0
    assert "other against fixed" in out
    page = Page(report_page([run_directory.read(stored), run_directory.read(other)]))
    assert "other against fixed: the environments differ in" in page.text
    assert "differences" in [attributes.get("id") for _, attributes in page.elements]
    assert set(page.data["records"]["columns"]["run"]) == {"fixed", "other"}
    lines_drawn = {line for name, chart in page.data["charts"].items() if name.startswith("cost-")
                   for line in chart["tables"]["rows"]["line"]}  # fmt: skip
    assert {line.rpartition(" · ")[2] for line in lines_drawn} == {"fixed", "other"}


def test_a_study_writes_the_page_beside_its_run_and_tells_its_path_last(
    tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(study: Any, directory: Path, **_: Any) -> RunResult:
        return RunResult(directory, study, write_run(directory).records)

    monkeypatch.setattr("pyprof.study.run.run_study", measure)
    code, _, err = cli("study", "quick", "-o", tmp_path / "run")
    assert code == 3  # one of its cases ran out of memory
    assert (
        err.splitlines()[-1]
        == f"pyprof: the page of its report, to open in a browser, is {tmp_path / 'run/report.html'}"
    )
    assert "longformer" in (tmp_path / "run/report.html").read_text()

    _, _, err = cli("study", "quick", "-o", tmp_path / "without", "--no-page")
    assert not (tmp_path / "without/report.html").exists()
    assert "to open in a browser" not in err

    monkeypatch.setitem(sys.modules, "vl_convert", None)
    monkeypatch.setattr("pyprof.report.page.document.javascript", javascript.__wrapped__)
    code, _, err = cli("study", "quick", "-o", tmp_path / "plain")
    assert code == 3
    assert "there is no page beside the run: pictures need vl-convert" in err.splitlines()[-1]


@pytest.mark.slow
def test_figures_are_written_in_the_wanted_format(tmp_path: Path, cli: Any) -> None:
    stored = write_run(tmp_path / "run").directory
    code, out, _ = cli("report", stored, "--figures", tmp_path / "figures", "--format", "svg")
    paths = [Path(line) for line in out.splitlines()]
    assert code == 0
    assert {path.suffix for path in paths} == {".svg"}
    assert {path.name for path in paths} >= {
        "figure1-text.svg",
        "figure2-text.svg",
        "figure2-text-log.svg",
        "layers-bert-eager-infer-542.svg",
    }
    assert all(path.read_text().startswith("<svg") for path in paths)

"""The pages of single results: a profile, two models, two runs, the overhead, kernels; and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_up
import pytest
import torch
from test_charts import fields
from test_page import HOSTILE, Page

import pyprof
from pyprof.cli.main import main
from pyprof.records.run_directory import Run
from pyprof.records.store import Store
from pyprof.report.page.attention import attention_page
from pyprof.report.page.comparison import models_page, runs_page
from pyprof.report.page.matching import matching_page
from pyprof.report.page.overhead import overhead_page
from pyprof.report.page.profile import profile_page
from pyprof.traces.timeline import timeline_of

PAGES: dict[str, Callable[[str], str]] = {
    "profile": lambda name: profile_page(made_up.a_profile(name), name, "float32", made_up.a_timeline(name)),
    "models": lambda name: models_page(made_up.two_models(name)),
    "runs": lambda name: runs_page(made_up.two_runs(name)),
    "machines": lambda name: runs_page(made_up.two_runs(name, across=True)),
    "overhead": lambda name: overhead_page(made_up.an_overhead_of(name)),
    "attention": lambda name: attention_page(made_up.kernels(name)),
    "matching": lambda name: matching_page(name, name, name, made_up.matches(name)),
}


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(PAGES[request.param]("a name"))


def columns(page: Page, chart: str, table: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = page.data["charts"][chart]["tables"][table]
    return found


def test_every_chart_has_its_place_its_words_and_the_columns_that_it_draws(page: Page) -> None:
    plots = {attributes["data-chart"]: attributes for _, attributes in page.elements if attributes.get("data-chart")}
    charts = page.data["charts"]
    assert charts
    assert plots.keys() == charts.keys()
    assert all(len(attributes["aria-label"] or "") > 40 for attributes in plots.values())
    for chart in charts.values():
        names = {name for table in chart["tables"].values() for name in table} | {"at", "one"}
        assert any(len(column) for table in chart["tables"].values() for column in table.values())
        assert all(len({len(column) for column in table.values()}) == 1 for table in chart["tables"].values())
        if chart["language"] == "vega-lite":
            assert set(fields(chart["specs"])) <= names


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for name, attributes in page.elements:
        assert name not in ("link", "iframe", "object", "img")
        assert attributes.keys().isdisjoint(("src", "action"))
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(attributes["content"] for _, attributes in page.elements if attributes.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


@pytest.mark.parametrize("name", PAGES)
def test_what_a_user_named_is_text(name: str) -> None:
    made = PAGES[name](HOSTILE)
    shown = Page(made)
    assert "<script>alert(1)" not in made
    assert "\u202e" not in made
    assert "<script>alert(1)</script>" in shown.text
    assert [tag for tag, _ in shown.elements].count("script") == len(Page(PAGES[name]("a name")).scripts)


def test_the_tree_of_a_profile_is_as_wide_as_its_own_times() -> None:
    shown = Page(PAGES["profile"]("encoder"))
    layers = columns(shown, "layers", "layers")
    assert layers["own"] == pytest.approx([1e5, 2e5, 3e5, 3e5])
    assert layers["total"] == pytest.approx([9e5, 5e5, 3e5, 3e5])
    assert layers["share"] == pytest.approx([0.9, 0.5, 0.3, 0.3])
    assert layers["parent"] == [None, 0, 1, 0]
    bars = columns(shown, "timeline", "bars")
    assert sorted(zip(bars["top"], bars["name"], strict=True)) == [
        (1, "step"),
        (2, "Model"),
        (3, "encoder"),
        (5, "encoder"),
    ]
    assert "One step takes 1.00 s with the probes on." in shown.text


def test_two_models_are_shown_round_by_round() -> None:
    rounds = columns(Page(PAGES["models"]("b")), "rounds", "rounds")
    assert rounds["round"] == list(range(1, 41))
    assert all(ratio == pytest.approx(1.1, abs=1e-3) for ratio in rounds["ratio"])


def test_two_runs_show_what_changed_first() -> None:
    shown = Page(PAGES["runs"]("head"))
    charts = {chart["tables"]["lines"]["said"][0]: chart for chart in shown.data["charts"].values()}
    changes = next(chart for said, chart in charts.items() if "regression" in said)["tables"]["lines"]
    assert changes["value"] == pytest.approx([20.0, 20.0, 0.5, 0.5])
    assert changes["tint"] == ["bad", "bad", "good", "good"]
    assert changes["name"][0] == "bert eager infer 62"
    assert "2 regressions beyond 3 % shown" in shown.text


def test_the_overhead_and_the_kernels_show_their_figures_and_reasons() -> None:
    shown = Page(PAGES["overhead"]("torchprof"))
    assert columns(shown, "overhead-train", "lines")["value"] == pytest.approx([0.11, 1150.0])
    assert "RuntimeError: an operation in place" in shown.text
    shown = Page(PAGES["attention"]("mine"))
    times = columns(shown, "attention-0", "times")
    assert list(zip(times["length"], times["kernel"], times["milliseconds"], strict=True)) == [
        (64, "cpu", 0.064), (64, "mine", 0.128), (256, "cpu", 0.256), (256, "mine", 0.512),
    ]  # fmt: skip
    assert columns(shown, "attention-0", "intervals")["low"] == pytest.approx([0.0576, 0.2304])


def test_matches_have_a_chart_each_and_what_was_made_equal_stands_out() -> None:
    shown = Page(matching_page("bert", "longformer", "tiny size", made_up.matches("latency")))
    charts = [chart["tables"] for chart in shown.data["charts"].values()]
    assert [tables["lines"]["value"] for tables in charts] == [
        [1.0, 2.0, 1.0, 1.0, 2.0, 1.5],
        [0.8, 1.0, 1.0, 1.0, 1.0, 0.9],
        [1.0, 1.0, 1.0, 1.0, 1.0],
    ]
    assert [tables["lines"]["tint"].index("series-6") for tables in charts] == [0, 1, 4]
    assert [tables["intervals"]["low"] for tables in charts] == [[1.4], [], [0.99]]
    assert "200.0 G" in shown.text
    assert "1.000x [0.990 to 1.010]" in shown.text
    assert "shown to lie within 1% of longformer" in shown.text


@pytest.mark.parametrize(
    ("ratio", "words"), [(1.004, "but is not shown to: its interval is wider"), (1.03, "the nearest one is +3.0 % off")]
)
def test_a_match_by_latency_that_is_none_is_said(ratio: float, words: str) -> None:
    *others, by_latency = made_up.matches("latency")
    columns = [*others, {**by_latency, "latency_ratio": ratio, "within_tolerance": False}]
    assert words in Page(matching_page("bert", "longformer", "tiny size", columns)).text


def test_a_recorded_step_becomes_bars_inside_of_bars() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
    with pyprof.instrument(model, backward=True) as probes, probes.step():
        model(torch.ones(2, 4)).sum().backward()
    timeline = timeline_of(probes.last_steps())
    rows = {bar.name: bar.row for bar in timeline.bars if bar.phase in ("step", "forward")}
    assert rows == {"step": 1, "Sequential": 2, "0": 3, "1": 3}
    step = next(bar for bar in timeline.bars if bar.phase == "step")
    assert all(step.begin <= bar.begin <= bar.end <= step.end + 1e-9 for bar in timeline.bars)
    assert timeline.lanes[0].name.startswith("host: Sequential, thread 1")
    assert timeline.rows == 1 + max(bar.row for bar in timeline.bars)
    assert {bar.kind for bar in timeline.bars if bar.name in "01"} == {"other"}


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    def write(run: Run, name: str) -> str:
        with Store(tmp_path / name) as store:
            store.begin(run.study, run.resolved, run.environment)
            for record in run.records.values():
                store.append(record)
        return str(tmp_path / name)

    records = [made_up.synthetic.record("bert", "eager", length, "infer") for length in (62, 242)]
    return [write(made_up.run_of(records), name) for name in ("before", "after")]


def test_a_command_writes_its_page_beside_what_it_prints(runs: list[str], tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "changes.html"
    assert main(["compare", *runs, "--html", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["outcome"] is None
    assert f"a page is in {path}" in err
    assert "change-0" in Page(path.read_text()).data["charts"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["after", "before", "changes.html"]


@pytest.mark.parametrize(
    "line",
    ["profile bert", "compare bert/eager bert/sdpa", "overhead bert", "attention --lengths 16", "match vit --to vit"],
)
def test_a_page_that_cannot_be_is_told_before_anything_is_measured(
    line: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*line.split(), "--html", "no/such/page.html"]) == 2
    assert "there is no directory 'no/such'" in capsys.readouterr().err
    assert main([*line.split(), "--html", "page.txt"]) == 2
    assert "a page has a name that ends in .html" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    from pyprof.report.charts import render

    render.javascript.cache_clear()
    assert main([*line.split(), "--html", "page.html"]) == 2
    assert "pip install 'pyprof-transformers[page]'" in capsys.readouterr().err

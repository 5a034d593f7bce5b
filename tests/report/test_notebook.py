"""What a notebook shows: every result as a table of HTML without scripts, in which names cannot be markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic_run as synthetic
import torch
from simulated_machine import make_environment, make_study

import pyprof
from pyprof.layers.profile import LayerCost, Profile
from pyprof.printing import NOTEBOOK
from pyprof.records.case import Case
from pyprof.records.environment import Environment
from pyprof.records.run_directory import Run
from pyprof.report.charts.theme import contrast
from pyprof.report.gate.view import Wish, gate_view
from pyprof.report.notebook.parts import GROUNDS, LEAST_CONTRAST, kind_colour
from pyprof.report.run import view_of
from pyprof.report.style import KIND_STYLES
from pyprof.statistics.estimate import Estimate
from pyprof.timing.sampling import Measurement

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> \"'>&amp; \x1b[2J\u202e"
EMPTY = ("br", "hr", "img", "input")


class Document(HTMLParser):
    """The elements, the attributes and the text of a piece of HTML; raises where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in EMPTY:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] == "style":
            return
        self.text += data
        if self.cells and {"td", "th"} & set(self.open):
            self.cells[-1] += data


ALLOWED = {"div", "style", "p", "b", "span", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}


def checked(shown: str) -> Document:
    """The parsed document, of nothing but tables and text, with no script, no address and nothing that loads."""
    document = Document(shown)
    assert set(document.elements) <= ALLOWED
    assert {name for name, _ in document.attributes} <= {"class", "style", "title"}
    assert not re.search(r"https?:|url\(|@import|\x1b|\u202e", shown)
    return document


def run_of(records, name="study", environment: Environment | None = None) -> Run:
    study = replace(make_study(), name=name)
    environment = environment or make_environment()
    every = {each.case.key: replace(each, environment=environment.fingerprint) for each in records}
    return Run(Path("here"), study, synthetic.RESOLVED, environment, every)


def profile_of(*names: str) -> Profile:
    layers = [LayerCost(0, None, "", "Model", "other", 1, 0, 0.9, 0.1, None, None, None, "replaced")]
    for index, name in enumerate(names, start=1):
        share = 0.8 / len(names)
        kind = "self-attention" if index % 2 else name
        layers.append(LayerCost(index, 0, name, name, kind, 1, 5, share, share, None, None, None, "replaced"))
    return Profile(tuple(layers), 3, 1.0, 0.1, 9, 0, 0, notes=(names[-1],) if names else ())


def test_every_result_shows_itself():
    for name in NOTEBOOK:
        module, function = NOTEBOOK[name].split(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_a_measured_profile_shows_kinds_and_layers():
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8))
    profile = pyprof.profile(model, torch.ones(2, 8), mode="train", seconds=0.05)
    document = checked(profile._repr_html_())
    assert {"normalisation", "backward", "Sequential"} <= set(document.cells)
    assert "without probes" in document.text
    assert "profiling overhead" in document.text


def test_a_profile_names_what_each_kind_and_layer_took():
    document = checked(profile_of("a", "b")._repr_html_())
    rows = [document.cells[at : at + 4] for at, cell in enumerate(document.cells) if cell == "self-attention"]
    assert rows[0] == ["self-attention", "", "40.0 %", "400 ms"]
    assert "with the probes on" in document.text


def test_a_profile_of_more_layers_than_anybody_reads_says_where_the_rest_is():
    shown = profile_of(*(f"layer_{'ab'[number % 2]}{number}" for number in range(400)))._repr_html_()
    assert "more lines are in print(profile)" in checked(shown).text
    assert len(shown) < 200_000


def test_a_measurement_shows_the_median_and_its_interval():
    measured = Measurement(tuple(range(1_000_000, 1_000_040)), 1, (), "precision")
    document = checked(measured._repr_html_())
    assert document.cells[document.cells.index("stopped by") + 1] == "1.00 ms"
    assert "precision" in document.cells
    few = Measurement((1_000_000,), 1, (), "time")
    assert "too few samples" in checked(few._repr_html_()).cells


def test_a_comparison_shows_the_verdict_and_both_times():
    a, b = (torch.ones(size, size) for size in (8, 16))
    compared = pyprof.compare(lambda: a @ a, lambda: b @ b, max_seconds=0.1)
    document = checked(compared._repr_html_())
    assert str(compared) in document.text
    assert f"{compared.ratio.value:.4f}" in document.cells


def test_a_run_shows_its_records_and_what_is_missing():
    failed = synthetic.missing(Case("bert", 99, "infer", "eager"), "oom", "no room")
    run = run_of([failed, *(synthetic.record("bert", "eager", length, "infer") for length in range(100, 140))])
    document = checked(run._repr_html_())
    assert "1 oom" in document.text
    assert ("title", "no room") in document.attributes
    assert document.cells.count("bert") == 20
    assert "21 more records: run.to_pandas() has them all" in document.text
    assert "0 cases" in checked(run_of([])._repr_html_()).text


def test_a_report_shows_tipping_points_or_a_ranking():
    every = list(synthetic.quick())
    document = checked(view_of(run_of(every))._repr_html_())
    row = document.cells.index("longformer")
    assert document.cells[row : row + 4] == ["longformer", "bert", "then", "infer"]
    assert "tokens" in document.cells[row + 5]
    assert "other indicators" in document.text
    one = [record for record in every if record.case.length == 542]
    document = checked(view_of(run_of(one))._repr_html_())
    assert "times the least" in document.cells
    assert "bert sdpa" in document.cells


def test_a_comparison_of_runs_shows_what_changed():
    before = [synthetic.record("bert", "eager", length, "infer") for length in (62, 242)]
    grown = [
        replace(
            each, indicators={**each.indicators, "peak_memory": replace(each.indicators["peak_memory"], value=9e12)}
        )
        for each in before
    ]
    view = gate_view(run_of(before), run_of(grown), Wish(fail_over=0.03))
    document = checked(view._repr_html_())
    assert document.cells.count("regression") == 2
    assert "2 regressions beyond 3 % shown" in document.text


def test_names_that_are_markup_stay_text():
    hostile = replace(make_environment(), cpu=HOSTILE)
    records = [
        replace(synthetic.record("bert", "eager", 62, "infer"), attention=HOSTILE),
        synthetic.missing(Case(HOSTILE.replace("\x1b", "").replace("\u202e", ""), 9, "infer"), "error", HOSTILE),
    ]
    run = replace(run_of(records, HOSTILE, hostile), warnings=(HOSTILE,))
    view = gate_view(run, run, Wish())
    for shown in (profile_of("a", HOSTILE), run, view_of(run), replace(view, baseline=HOSTILE, different=(HOSTILE,))):
        document = checked(shown._repr_html_())
        assert "<script>alert(1)</script>" in document.text


@pytest.mark.parametrize("kind", [*KIND_STYLES, HOSTILE])
def test_bars_stand_out_on_a_light_and_on_a_dark_ground(kind):
    assert all(contrast(kind_colour(kind), ground) >= LEAST_CONTRAST for ground in GROUNDS)


def test_estimates_without_bounds_are_shown():
    profile = profile_of("a")
    plain = pyprof.profile(torch.nn.Linear(2, 2), torch.ones(1, 2), seconds=0.02).plain
    assert plain is not None
    shown = replace(profile, plain=replace(plain, step=Estimate(0.5, None, None)))._repr_html_()
    assert "500 ms without probes" in checked(shown).text

"""Models have short names in what people read, and their own ones in data and in commands."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import synthetic_run as synthetic
from page_runs import layers
from rich.console import Console
from simulated_machine import make_environment, make_study

from pyprof.records.run_directory import Run, read
from pyprof.records.store import Store
from pyprof.report import as_json, terminal
from pyprof.report.charts.figures import figures
from pyprof.report.notebook.run import report as in_a_notebook
from pyprof.report.notebook.run import run as run_in_a_notebook
from pyprof.report.page.report import report_page
from pyprof.report.run import view_of
from pyprof.report.several import several
from pyprof.report.short_names import ShortNames
from pyprof.report.style import glyphs

OWN = "laboratory.models.families:long_encoder"


def named(directory: Path) -> Run:
    """A run of BERT and a Longformer that a user has written in a package."""
    comparisons = [replace(each, variant=_own(each.variant)) for each in synthetic.COMPARISONS]
    resolved = synthetic.resolved(comparisons, {_own(name): fact for name, fact in synthetic.FACTS.items()})
    with Store(directory) as store:
        store.begin(make_study(), resolved, make_environment())
        for record in synthetic.quick():
            own = replace(record, case=replace(record.case, model=_own(record.case.model)))
            store.append(own, layers(record) if record.kinds else None)
    return read(directory)


def _own(model: str) -> str:
    return OWN if model == "longformer" else model


def test_the_shortest_end_that_tells_models_apart() -> None:
    names = ["vit", "a.b:vit", "a.b:swin", "a.c:mix", "d.c:mix", "runs/one/weights", "runs/two/weights", "x/y/best"]
    assert ShortNames.of(names).short == {
        "a.b:vit": "b:vit",
        "a.b:swin": "swin",
        "runs/one/weights": "one/weights",
        "runs/two/weights": "two/weights",
        "x/y/best": "best",
    }
    assert ShortNames.of(["bert", "vit"]).short == {}


def test_only_whole_names_are_shortened() -> None:
    names = ShortNames.of(["a.b:vit", "a.b:vit_large"])
    assert (
        names("a.b:vit_large beside a.b:vit, a.b:vits and xa.b:vit.") == "vit_large beside vit, a.b:vits and xa.b:vit."
    )
    assert names.legend() == ("vit, vit_large: of a.b",)


def test_readers_see_short_names_and_are_told_whose_they_are(tmp_path: Path) -> None:
    run = named(tmp_path / "run")
    view = view_of(run)
    told = f"long_encoder: of {OWN.rpartition(':')[0]}"
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal.render(view, 100, glyphs("utf-8")))
    text = console.file.getvalue()
    assert text.count("long_encoder") > 5
    assert text.count(told) == 1
    assert OWN not in text.replace("\n", "")
    page = report_page([run])
    assert told in page
    # The data of the page names the model once in what a user would type.
    assert page.count("long_encoder") > 50
    assert OWN not in page
    for html in (in_a_notebook(view), run_in_a_notebook(run)):
        assert "long_encoder" in html
        assert told in html
        assert OWN not in html
    pictures = str(figures(ShortNames.of_views([view]).within(several([run]))))
    assert "long_encoder" in pictures
    assert OWN not in pictures


def test_data_and_commands_keep_the_names_that_were_given(tmp_path: Path) -> None:
    view = view_of(named(tmp_path / "run"))
    document = str(as_json.document(view))
    assert document.count(OWN) > 10
    assert document.replace(OWN, "").count("long_encoder") == 0
    asked = replace(view, resume=f"pyprof study --models {OWN}")
    assert ShortNames.of_views([view]).within(asked).resume == asked.resume

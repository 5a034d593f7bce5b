"""Whose clock the times of layers are of, in a terminal and on the page."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import synthetic_run as synthetic
from made_up import run_of
from rich.console import Console
from test_page import Page

from pyprof.records.record import Record
from pyprof.report.build import About, build_view
from pyprof.report.page.report import report_page
from pyprof.report.style import ASCII
from pyprof.report.terminal import render

SAID = "what the device did for each layer was not recorded"


def record(model: str, device: str, *, recorded: bool = False) -> Record:
    made = synthetic.record(model, "eager", 512, "infer")
    kinds = {kind: replace(cost, device_seconds=1e-3 if recorded else None) for kind, cost in made.kinds.items()}
    return replace(made, case=replace(made.case, device=device), kinds=kinds)


def printed(records: list[Record]) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render(build_view(records, synthetic.RESOLVED, About("quick", "a machine")), 100, ASCII))
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([record("bert", "cuda"), record("longformer", "cuda")], "Times of layers are the host's"),
        ([record("bert", "cuda", recorded=True), record("longformer", "cuda")], "Times of layers of longformer are"),
        ([record("bert", "cuda", recorded=True)], None),
        ([record("bert", "cpu")], None),
    ],
    ids=["no model has it", "one has not", "all have", "a host"],
)
def test_a_reader_is_told_where_a_device_has_no_times_of_its_own(records: list[Record], said: str | None) -> None:
    for text in (printed(records), Page(report_page([run_of(records)])).text):
        assert (SAID in text) == (said is not None)
        assert said is None or said in text

"""What a run shows while it goes on."""

from __future__ import annotations

import io
from typing import Literal

from rich.console import Console

from pyprof.cli.progress import progress
from pyprof.records.case import Case
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.report.console import Console as OwnConsole
from pyprof.study.run import Event

BERT, LONGFORMER = Case("bert", 512), Case("longformer", 512)


def event(kind: Literal["started", "finished"], case: Case, done: int) -> Event:
    record = Record(case, "ok", "here", "", 1.0, indicators={"latency": Reading(0.25)}) if kind == "finished" else None
    return Event(kind, case, 2.0, done, 2, 1.0, 3.0, record)


def shown(terminal: bool) -> str:
    output = io.StringIO()
    with progress(Console(file=output, force_terminal=terminal, width=200)) as tell:
        for kind, case, done in [("started", BERT, 0), ("started", LONGFORMER, 0), ("finished", BERT, 1)]:
            tell(event(kind, case, done))  # type: ignore[arg-type]
    return output.getvalue()


def test_a_terminal_shows_what_is_measured_together() -> None:
    text = shown(terminal=True)
    assert f"2 together: {BERT}" in text
    # When the first is done, the other one is still on.
    assert text.rindex(str(LONGFORMER)) > text.rindex(f"2 together: {BERT}")


def test_a_name_is_no_markup() -> None:
    odd = Case("runs/[/]\x1b[2J[red]x", 8)
    output = io.StringIO()
    with progress(OwnConsole(file=output, force_terminal=True, width=200)) as tell:
        tell(event("started", odd, 0))
        tell(event("finished", odd, 1))
    assert output.getvalue().count("runs/[/][2J[red]x") >= 2


def test_elsewhere_there_is_a_line_for_each_finished_case() -> None:
    assert shown(terminal=False) == f"[1/2, about 3.00 s left] {BERT}: 250 ms\n"


def advanced(elapsed: float) -> Event:
    what = f"Image: seed 1 of 5, step {elapsed:g} of 90"
    return Event("advanced", BERT, 60.0, 0, 2, elapsed, 3.0, what=what)


def test_what_takes_long_says_how_far_it_is() -> None:
    output = io.StringIO()
    with progress(Console(file=output, force_terminal=True, width=200)) as tell:
        tell(event("started", BERT, 0))
        tell(advanced(2.0))
        tell(event("finished", BERT, 1))
    text = output.getvalue()
    assert f"{BERT}: Image: seed 1 of 5, step 2 of 90" in text
    assert text.rindex("step 2 of 90") < text.rindex("1/2")


def test_elsewhere_what_takes_long_has_a_line_now_and_then() -> None:
    output = io.StringIO()
    with progress(Console(file=output, width=200)) as tell:
        for elapsed in (1.0, 29.0, 31.0, 45.0, 62.0):
            tell(advanced(elapsed))
    assert [line.partition("step ")[2] for line in output.getvalue().splitlines()] == ["31 of 90", "62 of 90"]
    assert output.getvalue().startswith(f"[0/2, about 3.00 s left] {BERT}: Image: seed 1 of 5")

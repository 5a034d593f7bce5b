"""Names, reasons and notes of a record that hold escape sequences, markup of rich, of HTML and of Markdown."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.text import Text
from simulated_machine import Simulated, make_study

import pyprof.cli
import pyprof.report.layers
from pyprof.cli.main import main
from pyprof.report.console import Console
from pyprof.study.run import run_study

# Clears the screen, sets a title and a colour, rings, reorders; the third is the same as one character of eight bits.
HOSTILE = "a\x1b[2J\x1b]0;title\x07\r\x9b31m\u202eb [red]x[/red] [/] <img src=x> ![y](http://z) | c\x7f"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def run(tmp_path):
    """A run of which three cases failed, for reasons that a model has chosen, with notes that a model has printed."""
    block = {"vanilla": "bert", "variants": ["longformer"], "lengths": [128, 256, 512], "implementations": ["now"]}
    machine = Simulated(lambda case: case.length * 1e-4)
    machine.failing["longformer", 512] = "error"
    run_study(make_study(comparison=[block]), tmp_path / "run", executor=machine, clock=machine.clock)
    path = tmp_path / "run" / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["notes"] = [HOSTILE]
        line["reason"] = HOSTILE if line["status"] != "ok" else None
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "run"


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_report_holds_them_as_text(capsys, run, flags):
    assert main(["report", str(run), *flags]) == 0
    out, err = capsys.readouterr()
    assert not CONTROL.search(out + err)
    assert "[red]x[/red] [/]" in " ".join(out.split())


@pytest.mark.parametrize("flags", [(), ("--json",), ("--markdown",)])
def test_a_comparison_holds_them_as_text(capsys, run, tmp_path, flags):
    base = tmp_path / "base"
    base.mkdir()
    for name in ("study.toml", "resolved.json", "environment.json"):
        (base / name).write_bytes((run / name).read_bytes())
    good = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    (base / "records.jsonl").write_text(
        "".join(json.dumps({**line, "status": "ok", "reason": None}) + "\n" for line in good)
    )
    assert main(["compare", str(base), str(run), *flags]) in (0, 4)
    out, err = capsys.readouterr()
    assert not CONTROL.search(out + err)
    if flags == ("--markdown",):
        assert "<img" not in out
        assert "![y](" not in out


def test_a_progress_line_holds_them_as_text(tmp_path, monkeypatch, capsys):
    """A factory whose model raises with an escape sequence, in a study, in profile and in a kernel's message."""
    (tmp_path / "hostile.py").write_text(
        f"def factory(*_, **__):\n    raise ValueError({HOSTILE!r})\n"
        f"def kernel(query, key, value, window):\n    raise ValueError({HOSTILE!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.toml").write_text(
        'name = "m"\nmodes = ["infer"]\nmetrics = ["latency"]\ndevice = "cpu"\n'
        '[[comparison]]\nvanilla = "hostile:factory"\nlengths = [4]\nimplementations = ["now"]\n'
    )
    attention = ("attention", "--impl", "hostile:kernel", "--impls", "sdpa", "--lengths", "16", "--windows", "2")
    for arguments in (
        ("profile", "hostile:factory", "--length", "4"),
        ("study", "mine.toml", "-o", "run", "--in-process"),
        (*attention, "--modes", "forward", "--seconds", "0.05", "--heads", "1", "--head-dim", "8"),
    ):
        assert main([*arguments]) == 3
        out, err = capsys.readouterr()
        assert "ValueError" in out + err
        assert not CONTROL.search(out + err), arguments


def test_no_command_makes_a_console_that_takes_orders():
    files = [*Path(pyprof.cli.__file__).parent.glob("*.py"), Path(pyprof.report.layers.__file__)]
    assert len(files) > 10
    for path in files:
        text = path.read_text()
        assert not re.search(r"from rich(\.console)? import .*\b(Console|print)\b", text), path


def test_what_is_taken_out_moves_nothing():
    def printed(text: str) -> str:
        from rich.table import Table

        file = io.StringIO()
        table = Table()
        table.add_column("name")
        table.add_column("figure")
        table.add_row(text, "1")
        table.add_row(Text(text), "22")
        Console(file=file, width=60).print(table)
        return file.getvalue()

    assert printed("a\x1bb\x9b\u202ec") == printed("abc")
    assert "[bold]:smile:" in printed("[bold]:smile:")

"""How a report says how costs grow, and what the arena published: in a terminal, on a page, in JSON."""

from __future__ import annotations

from io import StringIO

import pytest

from pyprof.indicators.latency import INDICATOR as LATENCY
from pyprof.records.case import Case
from pyprof.records.comparison import ModelFacts
from pyprof.records.reading import Reading
from pyprof.records.record import Record
from pyprof.records.resolved import Resolved
from pyprof.report.as_json import document
from pyprof.report.build import About, build_view
from pyprof.report.console import Console
from pyprof.report.page.growth import arena_part, growth_part
from pyprof.report.style import Glyphs
from pyprof.report.terminal import render
from pyprof.report.view import View

LENGTHS = (1024, 2048, 3072, 4096)


def view(speeds: dict[str, float]) -> View:
    """A run in which models take the given seconds for 1,024 tokens, and longer by the power 1.5."""
    claims = {str(length): float(length**2) for length in LENGTHS}
    facts = {name: ModelFacts("bytes", "token", complexity="L * L", claims=claims) for name in speeds}
    records = [
        Record(
            Case(name, length, "train"),
            "ok",
            "machine",
            "2026-01-01T00:00:00Z",
            1.0,
            indicators={"latency": Reading(seconds * (length / 1024) ** 1.5)},
        )
        for name, seconds in speeds.items()
        for length in LENGTHS
    ]
    return build_view(records, Resolved((), facts, (LATENCY.facts,)), About("lra-speed", "a machine"))


SPEEDS = {"lra-transformer": 1.0, "lra-linear": 0.2, "lra-local": 0.4, "lra-bigbird": 2.0}


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_has_exponents_ratios_and_the_pairs_that_differ(width: int) -> None:
    file = StringIO()
    Console(file=file, width=width).print(render(view(SPEEDS), width, Glyphs()))
    lines = file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert any(line.split() == ["lra-linear", "eager", "2.00", "1.50"] for line in lines)
    # 1 / 0.4 of the vanilla Transformer's speed here, 9.2 / 8.1 and 7.4 / 1.4 there.
    assert any(line.split()[:4] == ["local", "2.50", "/", "1.14"] and "2.50 / 5.29" in line for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "rank correlation 0.80 with the published one" in text
    assert "the other way round than published: transformer before bigbird" in text


def test_a_page_and_json_have_them_too() -> None:
    made = view(SPEEDS)
    page = "".join((*growth_part(made), *arena_part(made)))
    assert "<p>Ours / published (Tay et al., Long Range Arena, ICLR 2021), each as a ratio" in page
    for words in (
        "Exponents of the length, train",
        "L * L",
        "2.50 / 5.29",
        "transformer before bigbird",
        "Peak memory",
    ):
        assert words in page
    told = document(made)
    assert told["growth"][0]["costs"]["latency"]["exponent"] == pytest.approx(1.5)
    assert told["arena"][0]["differing"] == [["transformer", "bigbird"]]


def test_a_report_of_other_models_has_no_such_sections() -> None:
    file = StringIO()
    made = view({"bert": 1.0})
    plain = build_view(made_records(), Resolved((), {"bert": ModelFacts("text")}, (LATENCY.facts,)), About("s", "m"))
    Console(file=file, width=80).print(render(plain, 80, Glyphs()))
    assert made.growth
    assert not plain.growth
    assert not plain.arena
    assert "how costs grow" not in file.getvalue()
    assert not [*growth_part(plain), *arena_part(plain)]


def made_records() -> list[Record]:
    return [
        Record(Case("bert", length), "ok", "m", "2026-01-01T00:00:00Z", 1.0, indicators={"latency": Reading(1.0)})
        for length in LENGTHS
    ]

"""The documentation's page of the zoo is what its mechanisms' files say."""

from __future__ import annotations

from pathlib import Path

from pyprof.models.zoo import survey
from pyprof.models.zoo.mechanisms import MECHANISMS

PAGE = Path(__file__).parents[3] / "docs" / "zoo.md"


def test_the_page_is_what_the_command_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == survey.page(), "python -m pyprof.models.zoo.survey > docs/zoo.md"


def test_every_mechanism_has_a_row_with_its_claim() -> None:
    rows = [line for line in survey.page().splitlines() if line.startswith("| `zoo-")]
    assert len(rows) == len(MECHANISMS)
    for row, each in zip(rows, sorted(MECHANISMS, key=lambda each: rows_order(each.facts.family)), strict=True):
        assert f"`zoo-{each.name}`" in row
        assert f"`{each.facts.complexity}`" in row


def rows_order(family: str) -> int:
    return list(dict.fromkeys(each.facts.family for each in MECHANISMS)).index(family)

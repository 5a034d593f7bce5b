"""What a comparison of attention implementations comes to stands above its tables, on one screen."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import made_up
import pytest
from rich.console import Console

from pyprof.attention import Comparison
from pyprof.report.attention import write
from pyprof.statistics.estimate import Estimate


def lines(comparison: Comparison, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    write(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def with_ratios(ratio: Callable[[int, str], Estimate]) -> Comparison:
    """That of `mine` at each length and in each mode."""
    made = made_up.kernels("mine")
    results = [
        replace(result, rows=tuple(
            replace(row, against=ratio(result.problem.length, result.mode)) if row.impl == "mine" else row
            for row in result.rows
        ))
        for result in made.results
    ]  # fmt: skip
    return replace(made, results=results)


def test_a_row_for_each_implementation_says_how_many_times_the_first_ones_time_it_takes() -> None:
    told = with_ratios(lambda length, mode: Estimate(length / 40, length / 50, length / 30))
    shown = lines(told)
    begin = next(number for number, line in enumerate(shown) if line.startswith("In short: how many times cpu's time"))
    assert begin < 6
    assert shown[begin + 1].split() == ["forward", "backward"]
    assert shown[begin + 2].split() == ["mine", *(["1.60", "to", "6.40"] * 2)]
    assert all(len(line) <= 80 for line in shown)


@pytest.mark.parametrize(
    ("low", "high", "said"), [(1.1, 1.3, "1.20"), (0.9, 1.3, "1.20 ?"), (None, None, "1.20 ?")], ids=str
)
def test_what_is_not_shown_has_a_question_mark(low: float | None, high: float | None, said: str) -> None:
    told = with_ratios(lambda length, mode: Estimate(1.2, low, high))
    row = next(line for line in lines(told) if line.startswith("  mine"))
    assert " ".join(row.split()) == f"mine {said} {said}"


def test_a_single_problem_has_its_table_alone() -> None:
    made = made_up.kernels()
    assert not any("In short" in line for line in lines(replace(made, results=made.results[:1])))

"""How many examples a quality takes, by trainings that were written by hand and by real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pyprof.errors import UsageError
from pyprof.indicators.restate import restated
from pyprof.indicators.sample_efficiency import read
from pyprof.records import run_directory
from pyprof.records.case import Case
from pyprof.records.costs import Costs, parse_target
from pyprof.records.reading import Reading

CASE = Case("bert", 64, "train")
BATCH = 10
CURVES = ([0.2, 0.5, 0.9], [0.6, 0.4, 0.7], [0.1, 0.5, 0.6], [0.4, 0.6, 0.6], [0.1, 0.2, 0.5])


def trained(curves: Any = CURVES, better: str = "higher", every: int = 2) -> Reading:
    """A quality with looks every so many steps of ten examples."""
    seeds = [
        {
            "seed": seed,
            "examples": BATCH * every * len(curve),
            "curve": [[every * (number + 1), quality] for number, quality in enumerate(curve)],
        }
        for seed, curve in enumerate(curves)
    ]
    detail: Mapping[str, Any] = {
        "metric": {"better": better},
        "plan": {"batch": BATCH, "check_every": every},
        "seeds": seeds,
    }
    return Reading(0.5, detail=detail)


def of(level: float, reading: Reading, name: str = "") -> Reading:
    return read(CASE, {"latency": Reading(1.0), "text_accuracy": reading}, Costs(target={name: level}))


def test_the_first_look_that_finds_the_quality_counts() -> None:
    found = of(0.5, trained())
    # The looks were after 20, 40 and 60 examples.
    assert [each["examples"] for each in found.detail["seeds"]] == [40, 20, 40, 40, 60]
    assert found.value == 40
    # Student's for five: 2.776 standard errors, the lower end from the looks before (20, 0, 20, 20, 40).
    half = 2.776445 * (200.0 / 5) ** 0.5
    assert found.high == pytest.approx(40 + half, rel=1e-4)
    assert found.low == pytest.approx(20 - half, rel=1e-4)


def test_a_quality_of_which_less_is_better() -> None:
    found = of(0.5, trained([[0.9, 0.4], [0.8, 0.5]], better="lower"))
    assert (found.value, found.low) == (40, None)


def test_a_seed_that_does_not_come_there_leaves_no_mean() -> None:
    found = of(0.6, trained())
    assert found.value is None
    assert found.reason == "1 of 5 trainings did not reach 0.6 within 60 examples: they came to 0.5 at best"
    assert found.detail["seeds"][4] == {"seed": 4, "examples": None, "seen": 60, "best": 0.5}


@pytest.mark.parametrize(
    ("readings", "target", "reason"),
    [
        ({}, {"": 0.5}, "no model was trained here"),
        ({"text_accuracy": trained()}, {}, "nobody has said which quality"),
        ({"text_accuracy": trained([[], []])}, {"": 0.5}, "set check_every"),
        ({"a": trained(), "b": trained()}, {"": 0.5}, "one of the qualities a and b"),
        ({"a": trained()}, {"c": 0.5}, "one of the qualities a:"),
    ],
)
def test_why_there_is_none(readings: dict[str, Reading], target: dict[str, float], reason: str) -> None:
    found = read(CASE, readings, Costs(target=target))
    assert found.value is None
    assert reason in (found.reason or "")


def test_of_several_qualities_the_named_one() -> None:
    found = read(CASE, {"a": trained(), "b": trained([[0.9], [0.9]])}, Costs(target={"b": 0.5}))
    assert (found.value, found.detail["quality"]) == (20, "b")


def test_targets_as_they_are_written() -> None:
    assert parse_target("80%") == parse_target(0.8) == {"": 0.8}
    assert parse_target("a=0.5, b = 12") == {"a": 0.5, "b": 12}
    for text in ("much", "a=0.5,a=0.6", "0.5,0.6", "a=0.5,0.6", "0.5,a=1", ""):
        with pytest.raises(UsageError, match="is no target: write"):
            parse_target(text)


@pytest.mark.slow
def test_a_study_that_trains_tells_it_and_a_report_asks_anew(tmp_path: Path) -> None:
    from pyprof.cli.main import main

    study = tmp_path / "learn.toml"
    study.write_text(
        'name = "learn"\nmetrics = ["latency", "image_accuracy", "sample_efficiency"]\nmodes = ["train"]\n'
        'size = "tiny"\n[training]\nseeds = 2\nsteps = 30\ncheck_every = 10\n[costs]\ntarget = 0.01\n'
        '[[comparison]]\nvanilla = "lra-transformer"\nlengths = [64]\nimplementations = ["then"]\n'
    )
    run = tmp_path / "run"
    assert main(["study", str(study), "--max-seconds", "0.2", "-o", str(run)]) == 0
    (record,) = run_directory.read(run).records.values()
    found, quality = record.indicators["sample_efficiency"], record.indicators["image_accuracy"]
    batch = quality.detail["plan"]["batch"]
    assert [len(each["curve"]) for each in quality.detail["seeds"]] == [3, 3]
    assert found.value == 10 * batch
    (again,) = restated(run_directory.read(run), Costs(target={"": 1.0})).records.values()
    assert "did not reach 1 within" in (again.indicators["sample_efficiency"].reason or "")

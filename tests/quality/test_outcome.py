"""Outcomes over seeds: the mean, its interval, and what a record keeps of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from pyprof.quality.indicators import of_task, reading
from pyprof.quality.outcome import Outcome, SeedOutcome, interval_of
from pyprof.quality.plan import Plan
from pyprof.quality.task import ACCURACY, Metric
from pyprof.records.reading import READING

ANY = Metric(name="any", title="Any", better="higher", meaning="anything")


def seed(number, quality):
    status = "done" if quality is not None else "diverged"
    reason = None if quality is not None else "the loss is nan after 3 steps"
    return SeedOutcome(
        seed=number, status=status, quality=quality, reason=reason, steps=5, examples=40, seconds=1.5, joules=2.0
    )


def outcome(*qualities):
    return Outcome(
        task="listops",
        model="lra-local",
        size="tiny",
        attention="eager",
        device="cpu",
        metric=ACCURACY,
        plan=Plan(steps=5),
        seeds=tuple(seed(number, quality) for number, quality in enumerate(qualities)),
        baseline=0.1,
        published={"lra-local": 0.1582},
    )


def test_the_interval_is_students_between_the_bounds_of_the_metric():
    values = [0.30, 0.34, 0.31, 0.37, 0.33]
    low, high = outcome(*values).interval
    half = stats.t.interval(0.95, 4, scale=stats.sem(values))[1]
    assert (low, high) == pytest.approx(special.expit(special.logit(0.33) + np.array([-half, half]) / (0.33 * 0.67)))
    assert outcome(*values).value == pytest.approx(0.33)
    assert outcome(*values[:4]).interval is None


def test_no_interval_of_shares_leaves_what_a_share_can_be():
    low, high = outcome(0.995, 0.98, 1.0, 0.99, 0.47).interval
    assert low < 0.887 < high < 1
    _, high = interval_of(outcome(0.995, 0.98, 1.0, 0.99, 0.47).seeds, ANY)
    assert high > 1
    assert outcome(1.0, 1.0, 1.0, 1.0, 1.0).interval == (1.0, 1.0)


def test_one_diverged_seed_leaves_no_mean():
    made = outcome(0.3, 0.3, None, 0.3, 0.3)
    assert made.value is None
    assert made.interval is None
    kept = reading(made)
    assert kept.value is None
    assert "1 of 5 trainings diverged: the loss is nan" in kept.reason


def test_a_record_keeps_it():
    kept = reading(outcome(0.30, 0.34, 0.31, 0.37, 0.33))
    assert READING(json.loads(json.dumps(kept.to_json()))) == kept
    assert kept.low < kept.value < kept.high
    assert kept.detail["examples"] == 200
    assert kept.detail["joules"] == 10.0
    assert kept.detail["published"] == {"lra-local": 0.1582}
    assert len(kept.detail["seeds"]) == 5


def test_without_a_counter_of_energy_there_is_none_and_a_reason():
    reason = "no counter of energy can be read here"
    made = outcome(0.30, 0.34)
    blind = replace(made.seeds[1], joules=None, joules_reason=reason)
    detail = reading(replace(made, seeds=(made.seeds[0], blind))).detail
    assert (detail["joules"], detail["joules_reason"]) == (None, reason)
    assert [each["joules"] for each in detail["seeds"]] == [2.0, None]


def test_seeds_go_to_json_and_back():
    one = seed(1, 0.5)
    assert SeedOutcome.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_the_indicator_of_a_task():
    made = of_task("listops")
    assert made.name == "listops_accuracy"
    assert made.better == "higher"
    assert not made.usual
    assert made.modes == ("train",)

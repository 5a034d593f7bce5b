"""Plans of trainings: schedules, and what makes no sense."""

from __future__ import annotations

import json
import math

import pytest

from pyprof.errors import UsageError
from pyprof.quality import tasks
from pyprof.quality.plan import Plan


def test_the_schedule_of_the_arena_is_that_of_its_code():
    """0.05 · min(1, step / warmup) / sqrt(max(step, warmup)), with steps from 1."""
    plan = tasks.find("listops").plan("base")
    for step in (1, 500, 1000, 1001, 4000):
        theirs = 0.05 * min(1.0, step / 1000) / math.sqrt(max(step, 1000))
        assert plan.learning_rate * plan.rate(step - 1) == pytest.approx(theirs, rel=1e-3)


def test_schedules_rise_and_end_where_they_should():
    plan = Plan(steps=100, warmup=10, schedule="linear")
    assert [plan.rate(step) for step in (0, 9, 10, 55, 100)] == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.0])
    cosine = plan.but(schedule="cosine")
    assert [cosine.rate(step) for step in (10, 55, 100, 120)] == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert plan.but(schedule="constant").rate(99) == 1.0


def test_a_plan_goes_to_json_and_back():
    plan = Plan(steps=3, betas=(0.8, 0.9), dtype="autocast-bfloat16")
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps"),
        ({"batch": 0}, "batch"),
        ({"batch": 8, "accumulate": 3}, "equal parts"),
        ({"schedule": "square"}, "no schedule 'square'"),
        ({"optimizer": "lion"}, "no optimizer 'lion'"),
        ({"dtype": "float16"}, "no dtype 'float16'"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        Plan(**{"steps": 5, **change})


def test_the_released_sizes_of_trainings_are_kept():
    assert {name: tasks.find(name).plan("base").steps for name in tasks.ARENA} == {
        "listops": 5000,
        "text": 20_000,
        "retrieval": 5000,
        "image": 200,  # without CIFAR-10 these are the digits
        "pathfinder": 312 * 200,
        "pathx": 2500 * 200,
    }
    for name in tasks.ARENA:
        assert tasks.find(name).plan("tiny").steps <= 1000

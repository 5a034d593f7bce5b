"""A small model learns every task of the arena: it beats the most frequent class and a control on shuffled labels.

The whole of it trains for minutes and has a mark of its own (pytest -m training); two tasks are in the slow suite.
"""

from __future__ import annotations

import pytest

from pyprof.quality import tasks
from pyprof.quality.outcome import interval_of
from pyprof.quality.subject import Subject
from pyprof.quality.training import train

pytest.importorskip("accelerate", reason="training needs the extra quality")

# A little below what was reached (listops 0.28, image 0.30, text 0.87, retrieval 0.75, pathfinder 0.99, pathx 1.00).
REACHED = {"listops": 0.24, "image": 0.26, "text": 0.82, "retrieval": 0.7, "pathfinder": 0.93, "pathx": 0.93}
# In 80 steps (listops 0.23 and image 0.22).
REACHED_SOON = {"listops": 0.19, "image": 0.18}


def check(name, subject, seeds, bar, **changes):
    task = tasks.find(name)
    outcome = train(task, subject, task.plan("tiny").but(**changes), seeds=range(seeds), control=True)
    low, _ = outcome.interval
    _, shuffled = interval_of(outcome.control, outcome.metric)
    assert low > outcome.baseline, outcome.to_json()
    assert low > shuffled, outcome.to_json()
    assert outcome.value > bar, outcome.to_json()


@pytest.mark.training
@pytest.mark.parametrize("name", tasks.ARENA)
def test_a_small_model_learns_the_task(name):
    check(name, Subject("lra-linear"), 5, REACHED[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", REACHED_SOON)
def test_a_small_model_learns_a_short_one(name):
    check(name, Subject("lra-linear"), 5, REACHED_SOON[name], steps=80)

"""Quality as an indicator of studies: asked for by name, at the length of its task, never by all."""

from __future__ import annotations

import pytest

from pyprof.errors import UsageError
from pyprof.indicators import registry
from pyprof.quality import tasks
from pyprof.records import study as studies
from pyprof.records.study_parts import Training
from pyprof.study.narrow import Narrowing, narrow
from pyprof.study.resolve import resolve


def study(**more):
    table = {
        "name": "scores",
        "metrics": ["latency", "image_accuracy"],
        "modes": ["train"],
        "size": "tiny",
        "comparison": [{"vanilla": "lra-transformer", "variants": ["lra-local"], "lengths": [64]}],
    }
    return studies.parse({**table, **more}, "scores")


def test_every_task_of_the_arena_is_an_indicator():
    for name in tasks.ARENA:
        indicator = registry.find(f"{name}_accuracy")
        assert indicator.how == "trained"
        assert indicator.length(Training(), "tiny") == tasks.find(name).length("tiny")
    assert not [each for each in registry.chosen(["all"]) if each.how == "trained"]


def test_a_metric_that_is_nearly_one_is_told():
    with pytest.raises(UsageError, match="did you mean 'listops_accuracy'"):
        registry.find("listops_acuracy")


def test_how_carefully_to_train_stands_in_a_study_file():
    made = study(training={"seeds": 3, "budget": "2 min", "steps": 40, "data": {"text": "aclImdb"}, "control": True})
    assert made.training == Training(3, 120.0, 40, {"text": "aclImdb"}, True)
    assert studies.parse(made.to_table(), "again") == made
    assert "training" not in study().to_table()
    for wrong, said in (({"seeds": 0}, "seeds"), ({"epochs": 3}, "epochs"), ({"data": {"text": 3}}, "data")):
        with pytest.raises(UsageError, match=said):
            study(training=wrong)


def test_a_study_that_lacks_the_length_of_its_task_is_refused():
    resolve(study())
    lengths = [{"vanilla": "lra-transformer", "lengths": [32]}]
    with pytest.raises(UsageError, match="image_accuracy is of inputs of 64 tokens at size tiny"):
        resolve(study(comparison=lengths))
    with pytest.raises(UsageError, match="image_accuracy needs the train mode"):
        resolve(study(modes=["infer"]))


def test_the_arena_follows_the_size_to_the_lengths_of_its_tasks():
    arena = studies.load("arena")
    resolve(arena)
    tiny = narrow(arena, Narrowing(settings={"size": "tiny"}))
    resolve(tiny)
    wanted = {tasks.find(name).length("tiny") for name in tasks.ARENA}
    assert {length for block in tiny.blocks for length in block.lengths.values} == wanted
    one = narrow(arena, Narrowing(metrics=("latency", "pathx_accuracy"), settings={"size": "tiny"}))
    assert one.blocks[0].lengths.values == (1024,)
    asked = narrow(arena, Narrowing(lengths="64", metrics=("image_accuracy",), settings={"size": "tiny"}))
    assert asked.blocks[0].lengths.values == (64,)

"""Learning rates are chosen on validation examples, and on nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy import Toy

from pyprof.cli.main import main
from pyprof.errors import ExitCode, IncompleteError
from pyprof.quality.rates import Tried, best_of, try_rates
from pyprof.quality.subject import Subject

pytest.importorskip("accelerate", reason="training needs the extra quality")
MODEL = Subject("zoo-dense")
SLOW, GOOD = 1e-7, 1e-2


class Contrary(Toy):
    """A task whose test asks for the contrary: what is best there is worst in validation."""

    def split(self, name, size, seed=0):
        examples = super().split(name, size, seed)
        return [{**each, "label": 1 - each["label"]} for each in examples] if name == "test" else examples


def test_the_rate_is_best_on_validation_examples_whatever_the_test_says():
    task = Contrary()
    tried = try_rates(task, MODEL, task.plan("tiny"), [GOOD, SLOW, GOOD])
    assert [each.rate for each in tried] == [SLOW, GOOD]
    assert tried[1].quality > 0.9 > tried[0].quality
    assert best_of(tried, task.metric) == GOOD


def test_a_rate_that_diverges_is_not_taken_and_of_equals_the_lowest_is():
    higher, diverged = Toy.metric, Tried(1.0, None)
    assert best_of([Tried(1e-3, 0.5), Tried(1e-2, 0.5), diverged], higher) == 1e-3
    with pytest.raises(IncompleteError, match="give lower ones"):
        best_of([diverged], higher)
    from pyprof.quality.language import PERPLEXITY

    assert best_of([Tried(1e-3, 5.0), Tried(1e-2, 4.0)], PERPLEXITY) == 1e-2


def test_of_several_rates_the_best_is_trained_with_and_all_are_told(capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    wanted = ["quality", "zoo-dense", "--task", "toy:Toy", "--seeds", "1"]
    assert main([*wanted, "--rates", f"{SLOW},{GOOD}", "-o", str(tmp_path / "kept"), "--json"]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert told["plan"]["learning_rate"] == GOOD
    assert [each["rate"] for each in told["rates"]] == [SLOW, GOOD]
    assert main([*wanted, "--rates", f"{SLOW},{GOOD}"]) == ExitCode.DONE
    assert "learning rate 0.01, the best on validation examples: 1e-07 0." in capsys.readouterr().out
    assert main([*wanted, "--rates", str(SLOW), "--json"]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["plan"]["learning_rate"], told["rates"]) == (SLOW, [])
    assert main([*wanted, "--rates", "0"]) == ExitCode.WRONG_USE

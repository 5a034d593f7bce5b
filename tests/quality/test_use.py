"""Are long inputs used: models whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pyprof.quality.region import parse_region
from pyprof.quality.use import use

LENGTH, VOCABULARY = 64, 16
FIRST_THREE_QUARTERS = parse_region("first:0.75")
HOW = pytest.mark.parametrize("how", ["shuffle", "replace", "drop"])


def classes(count: int = 80) -> list[dict]:
    """The class is whether the first token is even, and the last one tells it too."""
    random = np.random.default_rng(5)
    made = []
    for _ in range(count):
        tokens = random.integers(1, VOCABULARY, LENGTH)
        tokens[-1] = tokens[0]
        made.append({"tokens": tokens, "label": int(tokens[0] % 2)})
    return made


def answers(place: int):
    """A model that looks at the token of one place, 0 from the beginning or -1 from the end, and at no other."""

    def judge(examples):
        return np.array([(each["tokens"][place] % 2 == each["label"], 1) for each in examples], dtype=float)

    return judge


@HOW
def test_who_ignores_all_but_the_last_quarter_loses_exactly_nothing(how):
    found = use(answers(-1), classes(), how, FIRST_THREE_QUARTERS)
    paired = found.paired
    assert (paired.before, paired.after, paired.change.value, paired.changed) == (1, 1, 0, 0)
    assert found.verdict == "no use shown"
    assert found.share == 0.75


@HOW
def test_who_needs_the_first_token_shows_it(how):
    found = use(answers(0), classes(), how, FIRST_THREE_QUARTERS)
    assert found.verdict == "used"
    assert found.paired.loss.low > 0.2
    assert found.paired.change.value == pytest.approx(found.paired.after - found.paired.before)


def texts(count: int = 48) -> list[dict]:
    """Each token of the last quarter is told by the token 48 places before and by the one just before."""
    random = np.random.default_rng(6)
    made = []
    for _ in range(count):
        tokens = random.integers(1, VOCABULARY, LENGTH + 1)
        tokens[48:] = tokens[0]
        made.append({"tokens": tokens[:-1], "labels": tokens[1:]})
    return made


def predictions(distance: int):
    """A language model that is nearly sure of the token that stands so many places before the one to be predicted."""

    def judge(examples):
        rows = []
        for each in examples:
            tokens, labels = each["tokens"], each["labels"]
            nll = [
                -np.log(0.9 if i >= distance - 1 and tokens[i - distance + 1] == label else 0.1 / (VOCABULARY - 1))
                for i, label in enumerate(labels)
                if label >= 0
            ]
            rows.append((sum(nll), len(nll)))
        return np.array(rows)

    return judge


@HOW
def test_a_language_model_of_a_short_memory_loses_exactly_nothing(how):
    found = use(predictions(1), texts(), how, FIRST_THREE_QUARTERS)
    change = found.paired.change
    assert (change.value, change.low, change.high, found.paired.changed) == (0, 0, 0, 0)
    assert found.verdict == "ignored"


@HOW
def test_a_language_model_that_needs_what_is_far_shows_it(how):
    found = use(predictions(49), texts(), how, FIRST_THREE_QUARTERS)
    assert found.verdict == "used"
    assert found.paired.figure == "bits"
    assert found.paired.change.low > 0
    assert found.paired.change.value == pytest.approx(found.paired.after - found.paired.before)


def test_who_is_misled_by_what_is_far_is_better_without():
    def judge(examples):
        return np.array([(each["tokens"][0] % 2 != each["label"], 1) for each in examples], dtype=float)

    assert use(judge, classes(), "shuffle", FIRST_THREE_QUARTERS).verdict == "better without"


def test_a_change_that_chance_can_make_shows_no_use():
    random = np.random.default_rng(7)

    def judge(examples):
        return np.array([(random.random() < 0.5, 1) for _ in examples], dtype=float)

    verdicts = [use(judge, classes(), "shuffle", FIRST_THREE_QUARTERS, seed=seed).verdict for seed in range(60)]
    assert verdicts.count("no use shown") >= 52


def test_of_a_drop_rounding_is_no_change():
    def judge(examples):
        wobble = 1e-6 * (len(examples[0]["tokens"]) < LENGTH)
        return np.array([(3.0 + wobble, 1) for _ in examples])

    assert use(judge, texts(), "drop", FIRST_THREE_QUARTERS).verdict == "ignored"


def test_a_result_is_a_json_object():
    found = use(answers(0), classes(), "shuffle", FIRST_THREE_QUARTERS).to_json()
    assert found["how"] == "shuffle"
    assert found["region"] == "first:0.75"
    assert found["paired"]["change"]["low"] < 0
    assert found["verdict"] == "used"

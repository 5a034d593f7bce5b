"""ListOps: expressions have the published distribution and the right values."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from pyprof.quality import tasks
from pyprof.quality.arena.listops import (
    OPERATORS,
    PUBLISHED,
    TINY,
    VOCABULARY,
    Distribution,
    apply,
    different,
    evaluated,
    expression,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
        ("[MED 1 2 3 4 ]", 2),
        ("[MED 9 1 5 ]", 5),
        ("[SM 9 9 [SM 1 1 ] ]", 0),
        ("[MIN [MAX 3 4 ] [MED 8 9 ] ]", 4),
        ("7", 7),
    ],
)
def test_the_value_of_an_expression(text, value):
    assert evaluated(text.split()) == value


def test_the_median_is_that_of_numpy_cut_to_a_whole_number():
    rng = np.random.default_rng(0)
    for count in range(1, 11):
        values = rng.integers(0, 10, count).tolist()
        assert apply("MED", values) == int(np.median(values))


def depth_and_arguments(words):
    """The deepest nesting, and the number of arguments of each operator."""
    open_, deepest, counts = [], 0, []
    for word in words:
        if word == "]":
            counts.append(open_.pop())
        else:
            if open_:
                open_[-1] += 1
            if word.startswith("["):
                open_.append(0)
                deepest = max(deepest, len(open_))
    return deepest, counts


def checked(distribution, count, seed=1):
    """`count` expressions that are checked one by one, with their values."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        words, value = expression(distribution, rng)
        deepest, arguments = depth_and_arguments(words)
        assert distribution.shortest < len(words) < distribution.longest
        assert deepest < distribution.depth
        assert all(2 <= each <= distribution.arguments for each in arguments)
        assert evaluated(words) == value
        made.append((words, value, arguments))
    return made


def published(rng, depth=1):
    """The published rules with another hand: a tree of (operator, arguments)."""
    if depth >= 10 or rng.random() > 0.25:
        return rng.choice(range(10))
    arguments = [published(rng, depth + 1) for _ in range(rng.randint(2, 10))]
    return rng.choice(OPERATORS), arguments


def size(tree):
    return 1 if isinstance(tree, int) else 2 + sum(map(size, tree[1]))


def value(tree):
    return tree if isinstance(tree, int) else apply(tree[0], [value(each) for each in tree[1]])


@pytest.mark.slow
def test_published_statistics():
    """Lengths, values, operators and numbers of arguments beside those of the published rules as written here."""
    made = checked(PUBLISHED, 400)
    rng = random.Random(0)
    trees = []
    while len(trees) < 400:
        tree = published(rng)
        if 500 < size(tree) < 2000:
            trees.append(tree)
    ours, theirs = ([len(words) for words, _, _ in made], [size(tree) for tree in trees])
    from scipy.stats import ks_2samp

    assert ks_2samp(ours, theirs).pvalue > 0.001
    operators = Counter(word[1:] for words, _, _ in made for word in words if word.startswith("["))
    total = sum(operators.values())
    assert {name: operators[name] / total for name in OPERATORS} == pytest.approx(
        dict.fromkeys(OPERATORS, 0.25), abs=0.01
    )
    arguments = Counter(each for _, _, counts in made for each in counts)
    assert min(arguments) == 2
    assert max(arguments) == 10
    labels = [
        np.bincount([found for _, found, _ in made], minlength=10),
        np.bincount(list(map(value, trees)), minlength=10),
    ]
    assert np.abs(labels[0] - labels[1]).max() < 5 * np.sqrt(400 * 0.2)
    # What a model reaches that always says the same: the arena's models that learn nothing are at 16 to 18 %.
    assert 0.12 < labels[0].max() / 400 < 0.24


def test_small_expressions_keep_the_rules():
    made = checked(TINY, 300)
    assert {word[1:] for words, _, _ in made for word in words if word.startswith("[")} == set(OPERATORS)
    assert len({found for _, found, _ in made}) == 10


def test_expressions_differ_and_splits_share_none():
    task = tasks.find("listops")
    splits = [task.split(name, "tiny") for name in ("train", "validation", "test")]
    seen = [example["tokens"].tobytes() for split in splits for example in split]
    assert len(set(seen)) == len(seen)
    assert all(example["tokens"].min() >= 1 and example["tokens"].max() <= len(VOCABULARY) for example in splits[2])
    assert max(len(example["tokens"]) for split in splits for example in split) <= task.length("tiny")
    again = next(different(TINY, np.random.default_rng([0, 0x1157])))
    assert (again["tokens"] == splits[0][0]["tokens"]).all()


def test_another_distribution_is_followed():
    shallow = Distribution(depth=2, arguments=3, share=1.0, shortest=2, longest=9)
    assert all(depth_and_arguments(words)[0] == 1 for words, _, _ in checked(shallow, 50))

"""Regions, and what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.quality.perturb import IGNORED, perturbed, perturbed_examples
from pyprof.quality.region import parse_region
from pyprof.quality.task import PLACES


@pytest.mark.parametrize(
    ("text", "length", "place"),
    [
        ("first:0.75", 8192, (0, 6144)),
        ("first:6144", 8192, (0, 6144)),
        ("first:75%", 10, (0, 8)),
        ("last:0.25", 100, (75, 100)),
        ("last:512", 100, (0, 100)),
        ("0.25:0.5", 100, (25, 50)),
        ("10:20", 100, (10, 20)),
        ("10:0.5", 100, (10, 50)),
    ],
)
def test_a_region_is_a_share_or_a_number_of_tokens(text, length, place):
    assert parse_region(text).of(length) == place


@pytest.mark.parametrize(
    "text", ["", "first", "first:", "first:-1", "first:1.5", "first:120%", "0.5:0.25", "middle:3", "1e3:2", "first:nan"]
)
def test_what_is_no_region_is_told_in_a_sentence(text):
    with pytest.raises(UsageError, match="region"):
        parse_region(text)


def test_a_region_that_is_empty_in_an_input_is_told():
    with pytest.raises(UsageError, match="holds nothing"):
        parse_region("0.5:4").of(16)
    with pytest.raises(UsageError, match="holds nothing"):
        parse_region("first:0").of(16)


SEQUENCES = [np.arange(100 * i, 100 * i + length) for i, length in enumerate((40, 31, 8))]


def test_shuffle_keeps_the_tokens_and_what_lies_outside():
    for before, after in zip(SEQUENCES, perturbed(SEQUENCES, "shuffle", parse_region("0.25:0.75")), strict=True):
        begin, end = round(0.25 * len(before)), round(0.75 * len(before))
        assert sorted(after) == sorted(before)
        np.testing.assert_array_equal(np.delete(after, range(begin, end)), np.delete(before, range(begin, end)))
        assert list(after[begin:end]) != list(before[begin:end])


def test_replace_takes_the_same_place_of_another_example():
    for before, after in zip(SEQUENCES, perturbed(SEQUENCES, "replace", parse_region("first:0.5")), strict=True):
        end = round(0.5 * len(before))
        assert len(after) == len(before)
        np.testing.assert_array_equal(after[end:], before[end:])
        other = SEQUENCES[after[0] // 100]
        assert other is not before
        np.testing.assert_array_equal(after[:end], np.resize(other, end))


def test_drop_takes_the_region_out():
    for before, after in zip(SEQUENCES, perturbed(SEQUENCES, "drop", parse_region("2:5")), strict=True):
        np.testing.assert_array_equal(after, np.delete(before, range(2, 5)))


def test_a_seed_fixes_everything_and_another_one_changes_it():
    region = parse_region("first:0.9")
    many = [np.arange(50) + 100 * i for i in range(20)]
    for how in ("shuffle", "replace"):
        first, again, other = (np.concatenate(perturbed(many, how, region, seed)) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_inputs_are_left_as_they_are():
    before = [each.copy() for each in SEQUENCES]
    for how in ("shuffle", "replace", "drop"):
        perturbed(SEQUENCES, how, parse_region("first:0.5"))
    for kept, each in zip(before, SEQUENCES, strict=True):
        np.testing.assert_array_equal(kept, each)


@pytest.mark.parametrize(
    ("how", "region", "sequences", "said"),
    [
        ("shufle", "first:0.5", SEQUENCES, "did you mean 'shuffle'"),
        ("replace", "first:0.5", SEQUENCES[:1], "only one"),
        ("drop", "first:1.0", SEQUENCES, "nothing is left"),
    ],
)
def test_what_cannot_be_done_is_told(how, region, sequences, said):
    with pytest.raises(UsageError, match=said):
        perturbed(sequences, how, parse_region(region))


@pytest.mark.parametrize("how", ["shuffle", "replace", "drop"])
def test_of_next_tokens_the_same_ones_are_judged_before_and_after(how):
    text = np.arange(1, 101)
    examples = [{"tokens": text[i : i + 12], "labels": text[i + 1 : i + 13]} for i in (0, 12, 24)]
    plain, changed = perturbed_examples(examples, how, parse_region("first:0.75"))
    for example, before, after in zip(examples, plain, changed, strict=True):
        assert list(before["labels"]) == [IGNORED] * 9 + list(example["labels"][9:])
        assert list(after["labels"][-3:]) == list(example["labels"][9:])
        assert len(after["labels"]) == len(after["tokens"]) == (3 if how == "drop" else 12)
        assert (after["labels"][:-3] == IGNORED).all()
        np.testing.assert_array_equal(after["tokens"][-3:], example["tokens"][-3:])


def test_what_is_left_of_a_drop_keeps_its_places():
    _, changed = perturbed_examples([{"tokens": np.arange(10) * 7, "label": 0}], "drop", parse_region("2:5"))
    np.testing.assert_array_equal(changed[0]["tokens"], changed[0]["tokens" + PLACES] * 7)


def test_of_next_tokens_something_has_to_be_left_to_predict():
    example = {"tokens": np.arange(8), "labels": np.arange(8)}
    with pytest.raises(UsageError, match="let it end earlier"):
        perturbed_examples([example, example], "shuffle", parse_region("last:0.5"))


def test_all_inputs_of_an_example_are_disturbed_and_its_class_is_kept():
    examples = [{"first": np.arange(9), "second": np.arange(20, 40), "label": 1}] * 2
    _, changed = perturbed_examples(examples, "drop", parse_region("first:0.5"), inputs=("first", "second"))
    assert [len(changed[0][name]) for name in ("first", "second")] == [5, 10]
    assert [list(changed[0][name + PLACES]) for name in ("first", "second")] == [[*range(4, 9)], [*range(10, 20)]]
    assert changed[0]["label"] == 1

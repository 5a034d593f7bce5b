"""Tasks whose data are somebody else's: documented layouts are read, and a sentence says what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.quality import tasks

CIFAR = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def reviews(directory, count=12):
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            folder = directory / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}_7.txt").write_text(f"{split} {label} {number} " + "é" * 3000)
    return directory


def test_reviews_are_read_as_bytes(tmp_path):
    task = tasks.find("text", reviews(tmp_path))
    train, validation, test = (task.split(name, "base") for name in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == (21, 3, 24)
    assert [each["label"] for each in test[:4]] == [0, 1, 0, 1]
    first = test[0]["tokens"]
    assert len(first) == 4096
    assert bytes((first - 1).astype(np.uint8))[:11] == b"test neg 0 "
    assert len(task.split("test", "tiny")[0]["tokens"]) == task.length("tiny")


def test_missing_and_empty_reviews_are_told(tmp_path):
    with pytest.raises(UsageError, match=r"train/neg: the task text needs IMDb"):
        tasks.find("text", tmp_path).split("train", "base")
    reviews(tmp_path, 2)
    (tmp_path / "test" / "pos" / "1_7.txt").write_text("")
    with pytest.raises(UsageError, match=r"1_7.txt is empty"):
        tasks.find("text", tmp_path).split("test", "base")
    with pytest.raises(UsageError, match="there is no directory"):
        tasks.find("text", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="makes its data itself"):
        tasks.find("listops", tmp_path)


def test_pairs_are_read(tmp_path):
    for name in ("train", "eval", "test"):
        lines = [f"{number % 2}.0\ta{number}\tb{number}\tone {name} {number}\tother {number}" for number in range(4)]
        (tmp_path / f"new_aan_pairs.{name}.tsv").write_text("\n".join(lines) + "\n")
    task = tasks.find("retrieval", tmp_path)
    (first, *_) = split = task.split("validation", "base")
    assert len(split) == 4
    assert bytes((first["tokens"] - 1).astype(np.uint8)) == b"one eval 0"
    assert [each["label"] for each in split] == [0, 1, 0, 1]
    batch = task.collate(split)
    assert batch["input_ids"].shape == (4, 10)
    assert batch["other_ids"].shape == (4, 7)


@pytest.mark.parametrize("line", ["2\ta\tb\tone\tother", "1\ta\tb\tone", "1\ta\tb\t\tother", ""])
def test_a_damaged_pair_is_told_with_its_line(tmp_path, line):
    (tmp_path / "new_aan_pairs.test.tsv").write_text(f"1\ta\tb\tone\tother\n{line}\n")
    with pytest.raises(UsageError, match=r"line 2 of .* is no pair"):
        tasks.find("retrieval", tmp_path).split("test", "base")


def test_missing_pairs_are_told(tmp_path):
    with pytest.raises(UsageError, match="the task retrieval needs the arena's pairs"):
        tasks.find("retrieval", tmp_path).split("train", "base")


def cifar(directory, count=20):
    rng = np.random.default_rng(0)
    for name in CIFAR:
        records = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records[0, 1:] = np.repeat([255, 0, 0], 1024)
        (directory / name).write_bytes(records.tobytes())
    return directory


def test_images_are_read_in_grey(tmp_path):
    task = tasks.find("image", cifar(tmp_path))
    train, validation, test = (task.split(name, "base") for name in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == (90, 10, 20)
    assert task.length("base") == len(train[0]["tokens"]) == 1024
    # Pure red has 29.9 % of white's grey.
    assert set(train[0]["tokens"].tolist()) == {76 + 1}
    assert 0 <= test[5]["label"] <= 9
    assert task.plan("base").steps == 175 * 200


@pytest.mark.parametrize("content", [b"", b"\x00" * 3072, b"\x0b" + b"\x00" * 3072])
def test_a_damaged_file_of_images_is_told(tmp_path, content):
    (cifar(tmp_path) / "test_batch.bin").write_bytes(content)
    with pytest.raises(UsageError, match=r"test_batch.bin is no file of CIFAR-10"):
        tasks.find("image", tmp_path).split("test", "base")


def test_missing_images_are_told(tmp_path):
    with pytest.raises(UsageError, match=r"data_batch_1.bin cannot be read .* binary version of CIFAR-10"):
        tasks.find("image", tmp_path).split("train", "base")


@pytest.mark.parametrize("name", ["text", "retrieval"])
def test_built_in_documents_are_of_two_kinds_and_splits_share_no_passage(name):
    task = tasks.find(name)
    splits = {split: task.split(split, "tiny") for split in ("train", "validation", "test")}
    for examples in splits.values():
        share = np.mean([each["label"] for each in examples])
        assert 0.4 < share < 0.6
        assert all(len(each["tokens"]) == task.length("tiny") for each in examples)
    texts = {split: {each["tokens"].tobytes() for each in examples} for split, examples in splits.items()}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]


def test_built_in_digits_are_all_of_scikit_learns():
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    task = tasks.find("image")
    splits = [task.split(split, "tiny") for split in ("train", "validation", "test")]
    assert sum(map(len, splits)) == 1797
    assert {each["label"] for each in splits[2]} == set(range(10))
    assert splits[0][0]["tokens"].max() <= 256


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'listops'"):
        tasks.find("listop")
    with pytest.raises(UsageError, match=r"is no pyprof.quality.task.Task"):
        tasks.find("collections:Counter")

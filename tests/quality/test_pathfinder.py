"""Pathfinder's images: their paths keep the published rules, and their dots say what their label says."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.quality import tasks
from pyprof.quality.arena.pathfinder import of_difficulty
from pyprof.quality.arena.paths import DIFFICULTIES, PUBLISHED, draw, published


def drawings(geometry, count, seed=0):
    rng = np.random.default_rng(seed)
    return [draw(geometry, bool(number % 2), rng) for number in range(count)]


def check_paths(geometry, drawing):
    """Every rule of a path that can be read off its paddles."""
    lengths = np.linalg.norm(drawing.paddles[:, 1] - drawing.paddles[:, 0], axis=1)
    assert lengths == pytest.approx(np.full(len(lengths), geometry.paddle))
    low, high = geometry.padding, geometry.side - 1 - geometry.padding
    assert low <= drawing.paddles.min() <= drawing.paddles.max() <= high
    for path in range(2):
        assert (drawing.path == path).sum() == geometry.contour
    shorter = np.bincount(drawing.path)[2:]
    assert len(shorter) <= geometry.distractors
    assert all(shorter == geometry.distractor)
    widest = np.pi / 2 / geometry.continuity
    for path in range(drawing.path.max() + 1):
        paddles = drawing.paddles[drawing.path == path]
        along = paddles[:, 1] - paddles[:, 0]
        for one, other, first, second in zip(paddles[:-1], paddles[1:], along[:-1], along[1:], strict=True):
            cosine = first @ second / geometry.paddle**2
            assert cosine >= np.cos(min(widest, np.pi)) - 1e-9
            gap = np.linalg.norm(other[0] - one[1])
            assert 2**0.5 * min(geometry.margins) - 1e-9 <= gap <= 2 * max(geometry.margins) + 1e-9
    begins = [drawing.paddles[drawing.path == path][0, 0] for path in range(2)]
    assert np.linalg.norm(begins[0] - begins[1]) == pytest.approx(geometry.apart)


def check_dots(drawing):
    ends = {}
    for path in range(2):
        paddles = drawing.paddles[drawing.path == path]
        ends[tuple(paddles[0, 0])], ends[tuple(paddles[-1, 1])] = path, path
    on = [ends[tuple(dot)] for dot in drawing.dots]
    assert (on[0] == on[1]) == drawing.connected
    assert (drawing.dots[0] != drawing.dots[1]).any()
    for row, column in np.rint(drawing.dots).astype(int):
        assert drawing.image[row, column] == 255


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_every_difficulty_of_the_arenas_images(difficulty):
    geometry = published(32, difficulty)
    assert geometry.contour == DIFFICULTIES[difficulty]
    for drawing in drawings(geometry, 12):
        check_paths(geometry, drawing)
        check_dots(drawing)
        assert drawing.image.shape == (32, 32)


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
@pytest.mark.parametrize("side", [side for side in PUBLISHED if side > 32])
def test_every_side(side, difficulty):
    geometry = published(side, difficulty)
    for drawing in drawings(geometry, 4):
        check_paths(geometry, drawing)
        check_dots(drawing)
        assert drawing.image.shape == (side, side)


@pytest.mark.slow
def test_an_image_of_every_kind_is_drawn_within_a_second():
    for side in PUBLISHED:
        for difficulty in DIFFICULTIES:
            begin = time.process_time()
            drawings(published(side, difficulty), 20, seed=1)
            assert (time.process_time() - begin) / 20 < 1


def test_a_path_turns_as_published_where_it_has_room():
    """Turns have the density cos², over the continuity: without walls or other paths its mean and variance."""
    geometry = replace(published(256, "easy"), side=1000, apart=200.0)
    turns = []
    for drawing in drawings(geometry, 60):
        for path in range(2):
            along = np.squeeze(np.diff(drawing.paddles[drawing.path == path], axis=1))
            headings = np.arctan2(along[:, 0], along[:, 1])
            turns += list((np.diff(headings) + np.pi) % (2 * np.pi) - np.pi)
    # Over all angles from -a to a with a = pi / 2: the variance of cos² is a²/3 - 1/2.
    variance = (np.pi**2 / 12 - 0.5) / geometry.continuity**2
    assert abs(np.mean(turns)) < 4 * (variance / len(turns)) ** 0.5
    assert np.var(turns) == pytest.approx(variance, rel=0.2)
    assert np.abs(turns).max() <= np.pi / 2 / geometry.continuity


def test_paths_keep_a_margin_to_one_another():
    geometry = published(32, "easy")
    for drawing in drawings(geometry, 10):
        points = drawing.paddles[:, :1] + np.linspace(0, 1, 4)[:, None] * np.diff(drawing.paddles, axis=1)
        for one in range(len(points)):
            others = points[drawing.path != drawing.path[one]]
            distance = np.linalg.norm(others.reshape(-1, 1, 2) - points[one], axis=-1).min()
            assert distance > 1.0 + geometry.thickness


def test_classes_are_balanced_and_say_what_is_drawn():
    task = tasks.find("pathfinder")
    split = task.drawings("train", "base")
    assert len(split) == 160_000
    assert len(task.drawings("test", "base")) == 20_000
    labels = [split.label(number) for number in range(4000)]
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / 4000**0.5
    for number in (0, 1, 159_999):
        assert split.drawing(number).connected == bool(split.label(number)) == bool(split[number]["label"])
    with pytest.raises(IndexError):
        split[160_000]


def test_number_i_of_a_split_is_always_the_same_image_and_splits_differ():
    task = tasks.find("pathx")
    train, test = task.drawings("train", "tiny"), task.drawings("test", "tiny")
    assert (train[3]["tokens"] == train[3]["tokens"]).all()
    assert (train[3]["tokens"] != test[3]["tokens"]).any()
    assert (train[3]["tokens"] != task.drawings("train", "tiny", seed=1)[3]["tokens"]).any()
    assert len(train[3]["tokens"]) == task.length("tiny") == 1024
    assert 1 <= train[3]["tokens"].min() <= train[3]["tokens"].max() == 256
    assert [each["label"] for each in train[2:5]] == [train.label(number) for number in (2, 3, 4)]


def test_path_x_is_the_same_at_128_pixels():
    task = tasks.find("pathx")
    assert task.length("base") == 16_384
    assert task.geometry("base") == PUBLISHED[128]
    assert tasks.find("pathfinder").length("base") == 1024
    assert len(task.drawings("train", "base")[0]["tokens"]) == 16_384


def test_an_unknown_difficulty_is_refused():
    with pytest.raises(UsageError, match="choose from easy, intermediate, hard"):
        of_difficulty(32, "mild")

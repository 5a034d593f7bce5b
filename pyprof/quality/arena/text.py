"""Text: is a film review positive, read byte by byte? Prose or source code where there is no directory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from pyprof.errors import UsageError
from pyprof.quality.arena.classification import Classification, of_bytes, released
from pyprof.quality.arena.passages import COUNTS, KINDS, passages
from pyprof.quality.plan import Plan
from pyprof.quality.task import SPLITS, Example, Split

_CLASSES = ("neg", "pos")
_LONGEST = 4096
_TINY = 192
# Of the training reviews every tenth is for validation.
_EVERY = 10


class Text(Classification):
    """IMDb's reviews cut to 4,096 bytes; without a directory passages of documentation and of source code."""

    name = "text"
    title = "Text"
    layout = "IMDb's reviews as aclImdb holds them: train/pos, train/neg, test/pos and test/neg with a .txt each"
    classes: ClassVar[int] = 2

    def length(self, size: str) -> int:
        """4,096 bytes, and 192 at tiny."""
        return _TINY if size == "tiny" else _LONGEST

    def plan(self, size: str) -> Plan:
        """The released schedule, 20,000 steps; at tiny what learns within seconds."""
        if size == "tiny":
            return Plan(steps=60, batch=16, learning_rate=2e-2, warmup=10)
        return released(steps=20_000, warmup=8000, check_every=1000)

    def split(self, name: Split, size: str, seed: int = 0) -> Sequence[Example]:
        """The reviews of a split, or some thousand built-in passages."""
        length = self.length(size)
        return _built_in(length, seed)[name] if self.directory is None else _reviews(self.directory, length)[name]


@cache
def _built_in(length: int, seed: int) -> dict[Split, list[Example]]:
    made: dict[Split, list[Example]] = {}
    for name in SPLITS:
        half = COUNTS[name] // 2
        examples = [
            {"tokens": of_bytes(passage, length), "label": label}
            for label, kind in enumerate(KINDS)
            for passage in passages(kind, name, length, half, seed)
        ]
        order = np.random.default_rng([seed, SPLITS.index(name)]).permutation(len(examples))
        made[name] = [examples[number] for number in order]
    return made


@cache
def _reviews(directory: Path, length: int) -> dict[Split, list[Example]]:
    training = _folder(directory / "train", length)
    return {
        "train": [example for number, example in enumerate(training) if number % _EVERY],
        "validation": training[::_EVERY],
        "test": _folder(directory / "test", length),
    }


def _folder(directory: Path, length: int) -> list[Example]:
    """All reviews of a split, the classes in turn where there are as many of both."""
    made: list[list[Example]] = []
    for label, name in enumerate(_CLASSES):
        paths = sorted((directory / name).glob("*.txt"))
        if not paths:
            raise UsageError(f"there are no reviews (*.txt) in {directory / name}: the task text needs {Text.layout}")
        made.append([{"tokens": _review(path, length), "label": label} for path in paths])
    longest = max(map(len, made))
    return [reviews[number] for number in range(longest) for reviews in made if number < len(reviews)]


def _review(path: Path, length: int) -> object:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    if not content:
        raise UsageError(f"{path} is empty: remove it, since a review has to have a byte at least")
    return of_bytes(content, length)

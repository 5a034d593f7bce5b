"""Pathfinder and Path-X: are the two dots on one dashed path? Pixels one after the other, in grey levels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from pyprof.errors import UsageError
from pyprof.quality.arena.classification import Classification
from pyprof.quality.arena.paths import DIFFICULTIES, Drawing, Geometry, draw, published
from pyprof.quality.plan import Plan
from pyprof.quality.task import SPLITS, Example, Split

_COUNTS = {"train": 160_000, "validation": 20_000, "test": 20_000}
_TINY_COUNTS = {"train": 400, "validation": 200, "test": 200}
_EPOCHS = 200


class Drawings(Sequence[Example]):
    """Examples that are drawn when they are asked for: number i of a split is the same each time."""

    def __init__(self, geometry: Geometry, count: int, stream: tuple[int, ...]) -> None:
        self._geometry, self._count, self._stream = geometry, count, stream

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(self._count))]
        drawing = self.drawing(number)
        return {"tokens": drawing.image.reshape(-1).astype(np.int64) + 1, "label": int(drawing.connected)}

    def label(self, number: int) -> int:
        """The class of an example, without drawing it."""
        return int(self._rng(number).integers(2))

    def drawing(self, number: int) -> Drawing:
        """The image of an example and what is in it."""
        if not 0 <= number < self._count:
            raise IndexError(number)
        rng = self._rng(number)
        return draw(self._geometry, bool(rng.integers(2)), rng)

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([*self._stream, number])


class Pathfinder(Classification):
    """Images of 32 x 32 pixels, hard as the arena's score is of; at tiny 16 x 16 with short paths."""

    name = "pathfinder"
    title = "Pathfinder"
    sides: ClassVar[dict[str, int]] = {"tiny": 16, "base": 32}
    difficulty: ClassVar[str] = "hard"

    def length(self, size: str) -> int:
        """The number of pixels."""
        return self.geometry(size).side ** 2

    def geometry(self, size: str) -> Geometry:
        """How the images of a size are drawn."""
        side = self.sides["tiny" if size == "tiny" else "base"]
        return _tiny(side) if size == "tiny" else published(side, self.difficulty)

    def plan(self, size: str) -> Plan:
        """The released schedule, 200 passes over 160,000 images; at tiny what learns within seconds."""
        if size == "tiny":
            return Plan(steps=160 if self.length(size) < 1024 else 80, batch=8, learning_rate=6e-3, warmup=10)
        batch, clip = self._released
        steps = _COUNTS["train"] // batch
        return Plan(
            steps=steps * _EPOCHS,
            batch=batch,
            learning_rate=1e-3,
            warmup=steps,
            schedule="cosine",
            clip=clip,
            check_every=steps * 10,
        )

    # The batch and the bound of the gradient's norm of the released configuration.
    _released: ClassVar[tuple[int, float]] = (512, 0.0)

    def split(self, name: Split, size: str, seed: int = 0) -> Sequence[Example]:
        """160,000, 20,000 and 20,000 images that are drawn when they are asked for; some hundreds at tiny."""
        if size == "tiny":
            return _drawn(self.geometry(size), name, seed)
        return self.drawings(name, size, seed)

    def drawings(self, name: Split, size: str, seed: int = 0) -> Drawings:
        """The same with all that is known of each image."""
        counts = _TINY_COUNTS if size == "tiny" else _COUNTS
        return _drawings(self.geometry(size), counts[name], name, seed)

    def baseline(self, train: Sequence[Example], test: Sequence[Example]) -> float:
        """Always the more frequent class; of examples that are not drawn yet the classes are known too."""
        ones = [[_label(each, number) for number in range(len(each))] for each in (train, test)]
        most = int(sum(ones[0]) * 2 >= len(ones[0]))
        return ones[1].count(most) / len(ones[1])


class PathX(Pathfinder):
    """Path-X: the same at 128 x 128 pixels, where every model of the arena failed; 32 x 32 at tiny."""

    name = "pathx"
    title = "Path-X"
    sides: ClassVar[dict[str, int]] = {"tiny": 32, "base": 128}
    _released: ClassVar[tuple[int, float]] = (64, 1.0)


def of_difficulty(side: int, difficulty: str) -> Geometry:
    """The settings of one of the published data sets; raises UsageError for one that there is not."""
    if difficulty not in DIFFICULTIES:
        raise UsageError(f"there is no difficulty {difficulty!r}: choose from {', '.join(DIFFICULTIES)}")
    return published(side, difficulty)


def _label(examples: Sequence[Example], number: int) -> int:
    return examples.label(number) if isinstance(examples, Drawings) else int(examples[number]["label"])


def _tiny(side: int) -> Geometry:
    """Paths of one paddle each, far apart, with large dots and no other paths: a small model learns it in seconds."""
    return Geometry(side, contour=1, apart=side * 0.45, dot=side * 0.19, distractor_paddles=0)


def _drawings(geometry: Geometry, count: int, name: Split, seed: int) -> Drawings:
    return Drawings(geometry, count, (seed, 0x9A7B, geometry.side, geometry.contour, SPLITS.index(name)))


@cache
def _drawn(geometry: Geometry, name: Split, seed: int) -> Sequence[Example]:
    """A small split, drawn once."""
    return list(_drawings(geometry, _TINY_COUNTS[name], name, seed))

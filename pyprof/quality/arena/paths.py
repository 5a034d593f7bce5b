"""Drawing Pathfinder's images: two dashed paths among shorter ones, and two dots on one path or on both.

After Linsley et al. (2018) and Kim et al. (2020), with the settings of Long Range Arena. A path is a row of paddles;
from one to the next it turns by an angle of the density cos²(continuity · angle), up to a right angle over continuity,
with two margins between them, and it comes no closer than a margin to what is there already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
DIFFICULTIES = {"easy": 6, "intermediate": 9, "hard": 14}
_ATTEMPTS = 12
# Points on a paddle whose distances to others are looked at.
_ALONG = np.linspace(0.0, 1.0, 4)


@dataclass(frozen=True)
class Geometry:
    """How images of `side` x `side` pixels are drawn; lengths are in pixels.

    `contour` is the number of paddles of the two long paths, whose first ends are `apart` pixels from one another;
    `distractors` shorter paths have a third as many paddles. `margins` are those that an image has one of. Paddles and
    dots are drawn in shares of white.
    """

    side: int
    contour: int
    paddle: float = 2.0
    thickness: float = 0.5
    margins: tuple[float, ...] = (1.0,)
    dot: float = 1.5
    continuity: float = 1.0
    apart: float = 7.0
    padding: float = 1.0
    distractor_paddles: int = 20
    ink: float = 0.75

    @property
    def distractor(self) -> int:
        """The number of paddles of a shorter path."""
        return max(self.contour // 3, 1)

    @property
    def distractors(self) -> int:
        """The number of shorter paths."""
        return self.distractor_paddles // self.distractor


_HARD = DIFFICULTIES["hard"]
# The released settings by the images' side.
PUBLISHED = {
    32: Geometry(32, _HARD),
    64: Geometry(64, _HARD, paddle=5, thickness=1, dot=2.5, continuity=1.8, apart=12, distractor_paddles=22, ink=0.8),
    128: Geometry(
        128,
        _HARD,
        paddle=5,
        thickness=1.5,
        margins=(2.0, 3.0),
        dot=3,
        continuity=1.8,
        apart=20,
        distractor_paddles=35,
        ink=0.9,
    ),
    256: Geometry(
        256,
        _HARD,
        paddle=5,
        thickness=2,
        margins=(3.0,),
        dot=5,
        continuity=1.8,
        apart=27,
        padding=22,
        distractor_paddles=30,
        ink=1.0,
    ),
}


def published(side: int, difficulty: str) -> Geometry:
    """The released settings of a side (32, 64, 128, 256) and a difficulty (easy, intermediate, hard)."""
    return replace(PUBLISHED[side], contour=DIFFICULTIES[difficulty])


@dataclass(frozen=True)
class Drawing:
    """An image (side, side) in grey levels, whether its dots are on one path, and what was drawn.

    `paddles` are the ends of all paddles, (n, 2, 2) as (row, column), `path` the number of each one's path: 0 and 1 the
    long ones, then the shorter ones; `dots` are (2, 2).
    """

    image: Image
    connected: bool
    paddles: Points
    path: npt.NDArray[np.int64]
    dots: Points


def draw(geometry: Geometry, connected: bool, rng: np.random.Generator) -> Drawing:
    """Draw one image; the dots are at both ends of a long path, or at one end of each."""
    while True:
        margin = float(rng.choice(geometry.margins))
        canvas = _Canvas(geometry, margin, rng)
        if canvas.two_paths():
            break
    first = int(rng.integers(2))
    last = first if connected else 1 - first
    dots = np.stack((canvas.end_of(first, 0), canvas.end_of(last, -1)))
    for _ in range(geometry.distractors):
        canvas.short_path()
    paddles, path = canvas.all()
    return Drawing(_painted(geometry, paddles, dots), connected, paddles, path, dots)


class _Canvas:
    """The paddles so far; a path that finds no way on is taken back."""

    def __init__(self, geometry: Geometry, margin: float, rng: np.random.Generator) -> None:
        self.geometry, self.margin, self.rng = geometry, margin, rng
        self.paths: list[list[Points]] = []
        self._points: list[Points] = []

    def two_paths(self) -> bool:
        """Grow the two long paths in turn, from ends that are `apart`; whether there was a way."""
        geometry = self.geometry
        bound = min(2 * geometry.apart, geometry.side / 2 - 1)
        tail = self.rng.uniform(bound, geometry.side - bound, 2)
        angle = self.rng.uniform(0, 2 * np.pi)
        for start in (tail, tail + geometry.apart * _towards(angle)):
            if not self._begin(start):
                return False
        return all(self._extend(number) for _ in range(geometry.contour - 1) for number in (0, 1))

    def short_path(self) -> None:
        """Add a distractor where there is room for one."""
        side = self.geometry.side
        for _ in range(_ATTEMPTS):
            before = len(self._points)
            if self._begin(self.rng.uniform(0, side, 2)):
                number = len(self.paths) - 1
                if all(self._extend(number) for _ in range(self.geometry.distractor - 1)):
                    return
                self.paths.pop()
                del self._points[before:]

    def end_of(self, path: int, which: int) -> Points:
        """The free end of the first (0) or the last (-1) paddle of a path."""
        end: Points = self.paths[path][which][0 if which == 0 else 1]
        return end

    def all(self) -> tuple[Points, npt.NDArray[np.int64]]:
        """All paddles and the number of each one's path."""
        paddles = [paddle for path in self.paths for paddle in path]
        return np.stack(paddles), np.array([number for number, path in enumerate(self.paths) for _ in path])

    def _begin(self, start: Points) -> bool:
        for _ in range(_ATTEMPTS):
            paddle = np.stack((start, start + self.geometry.paddle * _towards(self.rng.uniform(0, 2 * np.pi))))
            if self._free(paddle, ()):
                self.paths.append([paddle])
                self._points.append(_along(paddle))
                return True
        return False

    def _extend(self, number: int) -> bool:
        path = self.paths[number]
        begin, end = path[-1]
        heading = np.arctan2(*(end - begin))
        pivot = end + self.margin * _towards(heading)
        for _ in range(_ATTEMPTS):
            direction = _towards(heading + self._turn())
            start = pivot + self.margin * direction
            paddle = np.stack((start, start + self.geometry.paddle * direction))
            if self._free(paddle, path[-1:]):
                path.append(paddle)
                self._points.append(_along(paddle))
                return True
        return False

    def _turn(self) -> float:
        """An angle with the density cos²(continuity · angle), by rejection."""
        while True:
            angle, height = self.rng.uniform(-np.pi / 2, np.pi / 2), self.rng.random()
            if height < np.cos(angle) ** 2:
                return float(angle / self.geometry.continuity)

    def _free(self, paddle: Points, before: tuple[()] | list[Points]) -> bool:
        """Whether a paddle is inside of the image and a margin away from all others but the one before it."""
        low, high = self.geometry.padding, self.geometry.side - 1 - self.geometry.padding
        if paddle.min() < low or paddle.max() > high:
            return False
        if not self._points:
            return True
        others = np.concatenate(self._points)
        if before:
            near = _along(before[0])
            others = others[~(others[:, None] == near[None]).all(-1).any(-1)]
            if not len(others):
                return True
        away = self.margin + self.geometry.thickness
        points = _along(paddle)
        return bool((((points[:, None] - others[None]) ** 2).sum(-1) > away**2).all())


def _towards(angle: float) -> Points:
    return np.array([np.sin(angle), np.cos(angle)])


def _along(paddle: Points) -> Points:
    points: Points = paddle[0] + _ALONG[:, None] * (paddle[1] - paddle[0])
    return points


def _painted(geometry: Geometry, paddles: Points, dots: Points) -> Image:
    """Grey levels of paddles and dots, their edges smoothed over a pixel."""
    rows, columns = np.mgrid[: geometry.side, : geometry.side]
    pixels = np.stack((rows, columns), axis=-1).reshape(-1, 1, 2).astype(np.float64)
    begin, along = paddles[:, 0], paddles[:, 1] - paddles[:, 0]
    share = ((pixels - begin) * along).sum(-1) / (along**2).sum(-1)
    nearest = begin + np.clip(share, 0, 1)[..., None] * along
    distance = np.sqrt(((pixels - nearest) ** 2).sum(-1)).min(1)
    ink = geometry.ink * np.clip(geometry.thickness / 2 + 0.5 - distance + 0.25, 0, 1)
    to_dot = np.sqrt(((pixels - dots) ** 2).sum(-1)).min(1)
    white = np.clip(geometry.dot + 0.5 - to_dot, 0, 1)
    grey: Image = np.rint(255 * np.maximum(ink, white)).astype(np.uint8)
    return grey.reshape(geometry.side, geometry.side)

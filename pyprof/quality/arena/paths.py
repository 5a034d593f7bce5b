"""Drawing Pathfinder's images: two dashed paths among shorter ones, and two dots on one path or on both.

After Linsley et al. (2018) and Kim et al. (2020), with the settings of Long Range Arena. A path is a row of paddles;
from one to the next it turns by an angle of the density cos²(continuity · angle), up to a right angle over continuity,
with two margins between them, and it comes no closer than a margin to what is there already. The published generator
begins an image anew where a path finds no way on; here the last paddles are taken back first, since of long stiff paths
in a small image hardly one in ten thousand finds its way without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
DIFFICULTIES = {"easy": 6, "intermediate": 9, "hard": 14}
# How many places for a shorter path are tried.
_ATTEMPTS = 12
# How many paddles are tried for the next one of a path, of which the first that is free is taken.
_TRIED = 24
# How often paddles of the two long paths may be taken back before the image is begun anew.
_TAKEN_BACK = 60
# Points on a paddle whose distances to others are looked at.
_ALONG = np.linspace(0.0, 1.0, 4)
# The distribution of an angle with the density cos², as angles and their cumulated shares.
_ANGLES = np.linspace(-np.pi / 2, np.pi / 2, 1025)
_SHARES = 0.5 + _ANGLES / np.pi + np.sin(2 * _ANGLES) / (2 * np.pi)


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
    """The paths so far, each a list of paddles, (2, 2), of which the last ones can be taken back."""

    def __init__(self, geometry: Geometry, margin: float, rng: np.random.Generator) -> None:
        self.geometry, self.margin, self.rng = geometry, margin, rng
        self.paths: list[list[Points]] = []

    def two_paths(self) -> bool:
        """Grow the two long paths in turn, from ends that are `apart`; whether there was a way.

        Where a path finds none its last paddle is taken back, twice as many every time that this leads no further, and
        from its first one on it begins anew.
        """
        geometry = self.geometry
        bound = min(2 * geometry.apart, geometry.side / 2 - 1)
        tail = self.rng.uniform(bound, geometry.side - bound, 2)
        angle = self.rng.uniform(0, 2 * np.pi)
        for start in (tail, tail + geometry.apart * _towards(angle)):
            if not self._begin(start):
                return False
        furthest, back, left = [1, 1], [1, 1], _TAKEN_BACK
        while left:
            number = int(len(self.paths[1]) < len(self.paths[0]))
            path = self.paths[number]
            if len(path) == geometry.contour:
                return True
            if self._extend(path):
                continue
            left -= 1
            back[number] = 1 if len(path) > furthest[number] else 2 * back[number]
            furthest[number] = max(furthest[number], len(path))
            kept = len(path) - back[number]
            if kept <= 1:
                kept = furthest[number] = back[number] = 1
            del path[kept:]
        return False

    def short_path(self) -> None:
        """Add a distractor where there is room for one."""
        for _ in range(_ATTEMPTS):
            if self._begin(self.rng.uniform(0, self.geometry.side, 2)):
                path = self.paths[-1]
                if all(self._extend(path) for _ in range(self.geometry.distractor - 1)):
                    return
                self.paths.pop()

    def end_of(self, path: int, which: int) -> Points:
        """The free end of the first (0) or the last (-1) paddle of a path."""
        end: Points = self.paths[path][which][which]
        return end

    def all(self) -> tuple[Points, npt.NDArray[np.int64]]:
        """All paddles and the number of each one's path."""
        paddles = [paddle for path in self.paths for paddle in path]
        return np.stack(paddles), np.array([number for number, path in enumerate(self.paths) for _ in path])

    def _begin(self, start: Points) -> bool:
        """Begin one more path there, in any direction that is free; whether there is one."""
        directions = _towards(self.rng.uniform(0, 2 * np.pi, _TRIED))
        paddle = self._free(np.broadcast_to(start, directions.shape), directions, None)
        if paddle is not None:
            self.paths.append([paddle])
        return paddle is not None

    def _extend(self, path: list[Points]) -> bool:
        """Put down the next paddle of a path; whether one of those that were tried is free."""
        begin, end = path[-1]
        heading = np.arctan2(*(end - begin))
        turns = np.interp(self.rng.random(_TRIED), _SHARES, _ANGLES) / self.geometry.continuity
        directions = _towards(heading + turns)
        paddle = self._free(end + self.margin * (_towards(heading) + directions), directions, path[-1])
        if paddle is not None:
            path.append(paddle)
        return paddle is not None

    def _free(self, starts: Points, directions: Points, before: Points | None) -> Points | None:
        """The first of some paddles, (n, 2) each, that is inside of the image and a margin away from all others.

        That `before` it on its path may be nearer.
        """
        low, high = self.geometry.padding, self.geometry.side - 1 - self.geometry.padding
        paddles = np.stack((starts, starts + self.geometry.paddle * directions), axis=1)
        paddles = paddles[((paddles >= low) & (paddles <= high)).all((1, 2))]
        others = [paddle for path in self.paths for paddle in path if paddle is not before]
        if others and len(paddles):
            away = self.margin + self.geometry.thickness
            points = _along(paddles).reshape(-1, 1, 2) - _along(np.array(others)).reshape(1, -1, 2)
            far = np.einsum("npk,npk->np", points, points).min(1) > away**2
            paddles = paddles[far.reshape(len(paddles), -1).all(1)]
        return paddles[0] if len(paddles) else None


def _along(paddles: Points) -> Points:
    """Points on paddles (n, 2, 2), (n, 4, 2)."""
    return paddles[:, :1] + _ALONG[:, None] * (paddles[:, 1:] - paddles[:, :1])


def _towards(angle: float | npt.NDArray[np.float64]) -> Points:
    """Steps of one pixel, (..., 2) as (row, column)."""
    return np.stack((np.sin(angle), np.cos(angle)), axis=-1)


def _painted(geometry: Geometry, paddles: Points, dots: Points) -> Image:
    """Grey levels of paddles and dots, their edges smoothed over a pixel."""
    white = np.zeros((geometry.side, geometry.side))
    for begin, end in paddles:
        _stroke(white, begin, end, geometry.thickness / 2 + 0.75, geometry.ink)
    for dot in dots:
        _stroke(white, dot, dot, geometry.dot + 0.5, 1.0)
    return np.rint(255 * white).astype(np.uint8)


def _stroke(white: Points, begin: Points, end: Points, reach: float, ink: float) -> None:
    """Add the pixels that are nearer than `reach` to a line, in place; they fade over the last pixel."""
    low = np.maximum(np.floor(np.minimum(begin, end) - reach), 0).astype(int)
    high = np.ceil(np.maximum(begin, end) + reach).astype(int) + 1
    near = white[low[0] : high[0], low[1] : high[1]]
    pixels = np.moveaxis(np.indices(near.shape), 0, -1) + low
    along = end - begin
    share = ((pixels - begin) * along).sum(-1) / max((along**2).sum(), 1e-12)
    nearest = begin + np.clip(share, 0, 1)[..., None] * along
    distance = np.sqrt(((pixels - nearest) ** 2).sum(-1))
    np.maximum(near, ink * np.clip(reach - distance, 0, 1), out=near)

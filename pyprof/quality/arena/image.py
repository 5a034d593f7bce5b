"""Image: CIFAR-10 in grey levels, pixel by pixel; scikit-learn's digits where there is no directory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pyprof.errors import UsageError
from pyprof.quality import require_extra
from pyprof.quality.arena.classification import Classification
from pyprof.quality.plan import Plan
from pyprof.quality.task import Example, Split

_SIDE = 32
_RECORD = 1 + 3 * _SIDE**2
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
# The last tenth of the training images is for validation, as in the arena's released pipeline.
_VALIDATION = 0.1
# ITU-R BT.601, as images are made grey there.
_GREY = np.array([0.2989, 0.5870, 0.1140])
_EPOCHS, _IMAGES = 200, 45_000


class Image(Classification):
    """Ten classes of images as sequences of grey levels: 32 x 32 of CIFAR-10, or 8 x 8 of handwritten digits."""

    name = "image"
    title = "Image"
    classes: ClassVar[int] = 10
    layout = "the binary version of CIFAR-10: data_batch_1.bin to data_batch_5.bin and test_batch.bin"

    def length(self, size: str) -> int:
        """1,024 pixels, and 64 of the built-in digits."""
        return 64 if self.directory is None else _SIDE**2

    def plan(self, size: str) -> Plan:
        """The released schedule, 200 passes over 45,000 images; of the built-in digits what learns within seconds."""
        if size == "tiny" or self.directory is None:
            return Plan(steps=200, batch=32, learning_rate=5e-3, warmup=10)
        batch = 256
        steps = _IMAGES // batch
        return Plan(
            steps=steps * _EPOCHS,
            batch=batch,
            learning_rate=5e-4,
            warmup=steps,
            schedule="cosine",
            clip=0.0,
            check_every=steps * 10,
        )

    def split(self, name: Split, size: str, seed: int = 0) -> Sequence[Example]:
        """The images of a split; those of the built-in digits are split at random by the seed."""
        return _digits(seed)[name] if self.directory is None else _cifar(self.directory)[name]


@cache
def _digits(seed: int) -> dict[Split, list[Example]]:
    require_extra("sklearn")
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng([seed, 0xD161]).permutation(len(found.target))
    grey = np.rint(found.data * (255 / 16)).astype(np.int64)
    made: list[Example] = [{"tokens": grey[number] + 1, "label": int(found.target[number])} for number in order]
    return {"train": made[:1100], "validation": made[1100:1300], "test": made[1300:]}


@cache
def _cifar(directory: Path) -> dict[Split, list[Example]]:
    training = [example for name in _TRAIN for example in _read(directory / name)]
    kept = round(len(training) * (1 - _VALIDATION))
    return {"train": training[:kept], "validation": training[kept:], "test": _read(directory / _TEST)}


def _read(path: Path) -> list[Example]:
    """The images of one file: a byte of class, then 1,024 bytes each of red, green and blue."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): the task image needs {Image.layout}") from error
    if not len(content) or len(content) % _RECORD:
        raise UsageError(f"{path} is no file of CIFAR-10: its size is no multiple of {_RECORD:,} bytes")
    records = content.reshape(-1, _RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        raise UsageError(f"{path} is no file of CIFAR-10: it has the class {labels.max()}, and classes go up to 9")
    tokens = _grey(records[:, 1:]) + 1
    return [{"tokens": row, "label": int(label)} for row, label in zip(tokens, labels, strict=True)]


def _grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    colours = pixels.reshape(-1, 3, _SIDE**2).astype(np.float64)
    grey: npt.NDArray[np.int64] = np.rint(np.einsum("c,ncp->np", _GREY, colours)).clip(0, 255).astype(np.int64)
    return grey

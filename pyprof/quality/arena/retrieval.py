"""Retrieval: does one paper cite the other? Two documents, read byte by byte in two towers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyprof.errors import UsageError
from pyprof.quality.arena.classification import Classification, of_bytes, padded, places, released
from pyprof.quality.arena.passages import COUNTS, KINDS, passages
from pyprof.quality.plan import Plan
from pyprof.quality.task import SPLITS, Example, Split

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyprof.quality.subject import Subject

_LONGEST = 4000
_TINY = 128
_FILES: dict[Split, str] = {
    "train": "new_aan_pairs.train.tsv",
    "validation": "new_aan_pairs.eval.tsv",
    "test": "new_aan_pairs.test.tsv",
}


class Retrieval(Classification):
    """Pairs of papers of the ACL Anthology Network; without a directory pairs of passages, of one kind or of two."""

    name = "retrieval"
    title = "Retrieval"
    inputs = ("tokens", "other")
    layout = f"the arena's pairs of the ACL Anthology Network: {', '.join(_FILES.values())}"

    def length(self, size: str) -> int:
        """4,000 bytes of each document, and 128 at tiny."""
        return _TINY if size == "tiny" else _LONGEST

    def plan(self, size: str) -> Plan:
        """The released schedule, 5,000 steps; at tiny what learns within seconds."""
        if size == "tiny":
            return Plan(steps=120, batch=16, learning_rate=1e-2, warmup=10)
        return released(steps=5000, warmup=8000, check_every=500)

    def split(self, name: Split, size: str, seed: int = 0) -> Sequence[Example]:
        """The pairs of a split; half of the built-in ones are of one kind."""
        length = self.length(size)
        return _built_in(name, length, seed) if self.directory is None else _pairs(self.directory, name, length)

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Token numbers and masks of both documents, and labels."""
        batch = super().collate(examples)
        others, mask = padded([example["other"] for example in examples])
        return {**batch, "other_ids": others, "other_mask": mask, **places(examples, "other", "other_position_ids")}

    def build(self, subject: Subject, seed: int) -> nn.Module:
        """One encoder for both documents, and a head that compares what it makes of them."""
        from pyprof.quality.arena.heads import TwoTowers

        encoded = self.encoder(subject, seed)
        return TwoTowers(encoded, self.classes, self.pooling, seed)


@cache
def _built_in(name: Split, length: int, seed: int) -> list[Example]:
    count = COUNTS[name]
    pools = [[of_bytes(each, length) for each in passages(kind, name, length, count, seed)] for kind in KINDS]
    rng = np.random.default_rng([seed, 0x4E7A, SPLITS.index(name)])
    kinds = rng.integers(0, len(KINDS), (count, 2))
    at = rng.integers(0, count, (count, 2))
    return [
        {"tokens": pools[one][first], "other": pools[other][second], "label": int(one == other)}
        for (one, other), (first, second) in zip(kinds, at, strict=True)
    ]


@cache
def _pairs(directory: Path, name: Split, length: int) -> list[Example]:
    path = directory / _FILES[name]
    try:
        made = list(_read(path, length))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}): the task retrieval needs {Retrieval.layout}"
        ) from error
    if not made:
        raise UsageError(f"{path} holds no pair: the task retrieval needs {Retrieval.layout}")
    return made


def _read(path: Path, length: int) -> Iterator[Example]:
    """Lines of a label, two names and two texts with tabs between them."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            parts = line.rstrip(b"\r\n").split(b"\t")
            if len(parts) != 5 or parts[0] not in (b"0", b"1", b"0.0", b"1.0") or not (parts[3] and parts[4]):
                raise UsageError(
                    f"line {number} of {path} is no pair: write a label (0 or 1), two names and two texts, with tabs"
                )
            yield {
                "tokens": of_bytes(parts[3], length),
                "other": of_bytes(parts[4], length),
                "label": int(float(parts[0])),
            }

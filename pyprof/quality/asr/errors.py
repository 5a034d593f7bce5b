"""Word and character error rates with an interval over speakers, counted by jiwer."""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pyprof.quality import require_extra
from pyprof.statistics.bootstrap import Resampled, ratio_of_sums
from pyprof.statistics.estimate import FEWEST_SAMPLES

Counts = npt.NDArray[np.int64]
# What stands in a column of `word_counts` and `character_counts`.
COLUMNS = ("substitutions", "deletions", "insertions", "reference")


def word_counts(references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    """Substitutions, deletions, insertions and words of the reference, a row for each utterance (`COLUMNS`)."""
    return _counts(_jiwer().process_words(list(references), list(hypotheses)))


def character_counts(references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    """As `word_counts`, of characters; the spaces between words count."""
    return _counts(_jiwer().process_characters(list(references), list(hypotheses)))


def _counts(aligned: Any) -> Counts:
    rows = np.zeros((len(aligned.references), len(COLUMNS)), dtype=np.int64)
    for row, reference, chunks in zip(rows, aligned.references, aligned.alignments, strict=True):
        row[3] = len(reference)
        for chunk in chunks:
            said = chunk.ref_end_idx - chunk.ref_start_idx
            heard = chunk.hyp_end_idx - chunk.hyp_start_idx
            if chunk.type != "equal":
                row[{"substitute": 0, "delete": 1, "insert": 2}[chunk.type]] += max(said, heard)
    return rows


def _jiwer() -> Any:
    require_extra("jiwer")
    return importlib.import_module("jiwer")


@dataclass(frozen=True)
class ErrorRate:
    """Errors by words (or characters) of the reference, 0 is best and 1 is what an empty transcript has.

    `rate` has the interval of the bootstrap over speakers where there are five or more, else over utterances; that is
    None where there are fewer than five, or none differs (no error at all, say).
    """

    rate: Resampled
    substitutions: int
    deletions: int
    insertions: int
    reference: int

    def to_json(self) -> dict[str, Any]:
        """The rate as a fraction, its interval and what was drawn for it, and what was counted."""
        return {
            "value": self.rate.estimate.value,
            "low": self.rate.estimate.low,
            "high": self.rate.estimate.high,
            "resampled": drawn_name(self.rate),
            "substitutions": self.substitutions,
            "deletions": self.deletions,
            "insertions": self.insertions,
            "reference": self.reference,
        }


def error_rate(counts: Counts, speakers: Sequence[Hashable]) -> ErrorRate:
    """The error rate of the utterances whose rows these are."""
    substitutions, deletions, insertions, reference = (int(each) for each in counts.sum(axis=0))
    rate = ratio_of_sums(counts[:, :3].sum(axis=1), counts[:, 3], speakers)
    return ErrorRate(rate, substitutions, deletions, insertions, reference)


def by_cluster(counts: Counts, speakers: Sequence[Hashable]) -> dict[str, list[int]]:
    """Errors and words of each speaker, or of each utterance where there are fewer than five: what is drawn together.

    Two models that were judged on the same utterances are compared by these, pair by pair.
    """
    several = len(set(speakers)) >= FEWEST_SAMPLES
    clusters = [str(each) for each in speakers] if several else [str(number) for number in range(len(counts))]
    sums: dict[str, list[int]] = {}
    for cluster, row in zip(clusters, counts.tolist(), strict=True):
        both = sums.setdefault(cluster, [0, 0])
        both[0] += sum(row[:3])
        both[1] += row[3]
    return {"errors": [errors for errors, _ in sums.values()], "words": [words for _, words in sums.values()]}


def drawn_name(rate: Resampled) -> str | None:
    """What was drawn for an interval, in words: ``40 speakers``."""
    if rate.drawn is None:
        return None
    return f"{rate.count} {'speakers' if rate.drawn == 'cluster' else 'utterances'}"

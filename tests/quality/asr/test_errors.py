from __future__ import annotations

import numpy as np
import pytest

from pyprof.quality.asr.errors import by_cluster, character_counts, error_rate, word_counts

pytest.importorskip("jiwer", reason="the extra quality is not installed")

SAID = ["THE CAT SAT", "ON THE MAT", "AND", "THERE IT STAYED"]
HEARD = ["THE CAT SAT", "ON A MAT TOO", "", "IT STAYED"]


def test_errors_are_counted_by_utterance() -> None:
    assert word_counts(SAID, HEARD).tolist() == [[0, 0, 0, 3], [1, 0, 1, 3], [0, 1, 0, 1], [0, 1, 0, 3]]
    characters = character_counts(["AB C", "D"], ["AC", "DE"])
    assert characters[:, 3].tolist() == [4, 1]
    assert characters[:, :3].sum(axis=1).tolist() == [2, 1]


def test_the_rate_is_that_of_jiwer() -> None:
    import jiwer

    rate = error_rate(word_counts(SAID, HEARD), [*"abcd"])
    assert rate.rate.estimate.value == pytest.approx(jiwer.wer(SAID, HEARD)) == pytest.approx(0.4)
    assert (rate.substitutions, rate.deletions, rate.insertions, rate.reference) == (1, 2, 1, 10)
    assert rate.rate.estimate.interval is None
    letters = error_rate(character_counts(SAID, HEARD), [*"abcd"])
    assert letters.rate.estimate.value == pytest.approx(jiwer.cer(SAID, HEARD))


def test_the_interval_is_over_speakers_where_there_are_enough() -> None:
    generator = np.random.default_rng(0)
    counts = np.column_stack([generator.binomial(10, 0.2, 60), np.zeros((60, 2), int), np.full(60, 10)])
    by_speakers = error_rate(counts, [str(number % 6) for number in range(60)]).to_json()
    assert by_speakers["resampled"] == "6 speakers"
    assert by_speakers["low"] < by_speakers["value"] < by_speakers["high"]
    assert error_rate(counts, ["one"] * 60).to_json()["resampled"] == "60 utterances"
    perfect = error_rate(counts * [0, 0, 0, 1], ["one"] * 60).to_json()
    assert (perfect["value"], perfect["low"], perfect["high"], perfect["resampled"]) == (0.0, None, None, None)


def test_what_is_drawn_together_is_summed_for_pairs() -> None:
    counts = word_counts(SAID, HEARD)
    assert by_cluster(counts, ["ann", "bob", "ann", "bob"]) == {"errors": [0, 2, 1, 1], "words": [3, 3, 1, 3]}
    many = by_cluster(np.repeat(counts, 2, axis=0), [*"abcdeabc"])
    assert many == {"errors": [1, 1, 3, 2, 1], "words": [4, 6, 6, 3, 1]}

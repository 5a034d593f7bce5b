from __future__ import annotations

import numpy as np
import pytest

from pyprof.errors import UsageError
from pyprof.quality.asr.spoken import check_lengths, of_sentences
from pyprof.quality.asr.tones import sentences, tones


def pitch(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound))
    return float(spectrum.argmax() * 16_000 / len(sound))


def test_each_character_has_a_pitch_and_each_speaker_another() -> None:
    heard = [pitch(tones(character)) for character in "AEZ"]
    assert heard[0] < heard[1] < heard[2]
    assert tones("A").shape == tones("Z").shape
    assert pitch(tones("M", "1")) != pitch(tones("M", "2"))
    assert np.abs(tones(" ")).max() < 0.02
    assert np.array_equal(tones("STAR", "3"), tones("star", "3"))
    assert np.abs(tones("STAR")).max() < 1


def test_sentences_are_fixed_by_the_seed() -> None:
    first, again, other = (sentences(12, (1, 3), 4, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert {each.speaker for each in first} == {"1", "2", "3", "4"}
    assert {len(each.transcript.split()) for each in first} == {1, 2, 3}
    assert len({each.name for each in first}) == 12


def test_a_split_reads_a_waveform_when_it_is_asked_for() -> None:
    split = of_sentences(sentences(6, (1, 2), 2, 0))
    assert split[2]["transcript"] == split.spoken[2].transcript
    assert len(split[2]["waveform"]) == split.spoken[2].samples
    assert [one.name for one in split[1:3].spoken] == [split[1]["name"], split[2]["name"]]
    assert len(list(split)) == 6
    others = split.said_otherwise([1, 2, 3, 4, 5, 0])
    assert others[0]["transcript"] == split[1]["transcript"]
    assert others[0]["waveform"] is split[0]["waveform"]
    short = split.shortest(3).spoken
    assert len(short) == 3
    assert max(one.samples for one in short) <= sorted(one.samples for one in split.spoken)[3]


def test_an_utterance_too_short_for_what_is_said_is_named() -> None:
    split = of_sentences(sentences(2, (1, 1), 1, 0))
    check_lengths(split, lambda samples: 2, lambda text: [1, 2])
    for frames, symbols in ((1, [1, 2]), (2, [1, 1]), (0, []), (-1, [1])):
        with pytest.raises(UsageError, match=f"{split[0]['name']} lasts .* s, {max(frames, 0)} frames, and its"):
            check_lengths(split, lambda samples, frames=frames: frames, lambda text, symbols=symbols: symbols)

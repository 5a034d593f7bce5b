"""Speech that needs no recordings: a tone for each character, so that every path can be tried without data.

A sentence's characters follow one another, each a chord of its own pitch, with a short rest behind; a space is a longer
rest. Speakers differ by their pitch. It says nothing of real speech. Loads numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyprof.quality.asr.alphabet import ENGLISH
from pyprof.quality.asr.librispeech import SAMPLE_RATE, Waveform

# Words of eight letters, so that few examples show each of them often.
WORDS = ("sea", "ten", "net", "eat", "rat", "tar", "star", "nest", "rest", "east", "rain", "iron", "oar", "son", "its")
_CHARACTER, _REST = 0.06, 0.02  # seconds
_LOWEST, _STEPS_AN_OCTAVE = 300.0, 6
_NOISE = 0.003


@dataclass(frozen=True)
class Sentence:
    """A sentence and who says it."""

    name: str
    speaker: str
    transcript: str


def sentences(count: int, words: tuple[int, int], speakers: int, seed: int) -> tuple[Sentence, ...]:
    """Random sentences of `words` (fewest, most) each, said by the speakers in turn; the seed fixes them."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        chosen = generator.choice(WORDS, size=generator.integers(words[0], words[1] + 1))
        speaker = f"{number % speakers + 1}"
        made.append(Sentence(f"{speaker}-{seed}-{number:04d}", speaker, " ".join(chosen).upper()))
    return tuple(made)


def tones(transcript: str, speaker: str = "1") -> Waveform:
    """A transcript as tones, from -1 to 1 at 16,000 a second; always the same for the same arguments."""
    transcript = transcript.upper()
    pitch = 1 + 0.02 * (sum(speaker.encode()) % 5 - 2)
    parts = [_character(character, pitch) for character in transcript]
    quiet = np.zeros(int(_REST * SAMPLE_RATE))
    whole = np.concatenate([quiet, *(part for each in parts for part in (each, quiet))])
    generator = np.random.default_rng(list(f"{speaker} {transcript}".encode()))
    said: Waveform = (whole + _NOISE * generator.standard_normal(len(whole))).astype(np.float32)
    return said


def _character(character: str, pitch: float) -> npt.NDArray[np.float64]:
    time = np.arange(int(_CHARACTER * SAMPLE_RATE)) / SAMPLE_RATE
    place = ENGLISH.find(character)
    if place < 0:
        return np.zeros(len(time))
    frequency = _LOWEST * pitch * 2 ** (place / _STEPS_AN_OCTAVE)
    chord = np.sin(2 * np.pi * frequency * time) + 0.5 * np.sin(2 * np.pi * 1.5 * frequency * time)
    sound: npt.NDArray[np.float64] = 0.3 * chord * np.sin(np.pi * time / time[-1]) ** 0.5
    return sound

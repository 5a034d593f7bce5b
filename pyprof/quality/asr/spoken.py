"""A split of spoken examples, whose waveforms are read when one is asked for; importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, overload

from pyprof.errors import UsageError
from pyprof.quality.asr import librispeech
from pyprof.quality.asr.librispeech import SAMPLE_RATE, Waveform
from pyprof.quality.asr.tones import Sentence, tones


@dataclass(frozen=True)
class Spoken:
    """One example without its samples: `read` gives them, and `samples` is how many there are."""

    name: str
    speaker: str
    transcript: str
    samples: int
    read: Callable[[], Waveform]

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


class SpokenSplit(Sequence[dict[str, Any]]):
    """Examples with `waveform` (samples,) of float32, `transcript`, `speaker` and `name`; only `spoken` is kept."""

    def __init__(self, spoken: Sequence[Spoken]) -> None:
        self.spoken = tuple(spoken)

    def __len__(self) -> int:
        return len(self.spoken)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> SpokenSplit: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | SpokenSplit:
        if isinstance(index, slice):
            return SpokenSplit(self.spoken[index])
        one = self.spoken[index]
        return {"waveform": one.read(), "transcript": one.transcript, "speaker": one.speaker, "name": one.name}

    def said_otherwise(self, order: Sequence[int]) -> SpokenSplit:
        """The same recordings, each with the transcript of the one that stands there in `order`."""
        pairs = zip(self.spoken, order, strict=True)
        return SpokenSplit([replace(one, transcript=self.spoken[other].transcript) for one, other in pairs])

    def shortest(self, count: int) -> SpokenSplit:
        """The shortest ones, at most `count`, in their order."""
        kept = sorted(self.spoken, key=lambda one: (one.samples, one.name))[:count]
        names = {one.name for one in kept}
        return SpokenSplit([one for one in self.spoken if one.name in names])


def of_utterances(utterances: Sequence[librispeech.Utterance]) -> SpokenSplit:
    """Utterances of LibriSpeech as examples."""
    return SpokenSplit(
        [Spoken(each.name, each.speaker, each.transcript, each.samples, _Reading(each)) for each in utterances]
    )


def of_sentences(sentences: Sequence[Sentence]) -> SpokenSplit:
    """Sentences as tones."""
    return SpokenSplit(
        [
            Spoken(each.name, each.speaker, each.transcript, len(said), _Kept(said))
            for each in sentences
            for said in (tones(each.transcript, each.speaker),)
        ]
    )


@dataclass(frozen=True)
class _Reading:
    utterance: librispeech.Utterance

    def __call__(self) -> Waveform:
        return librispeech.waveform(self.utterance)


@dataclass(frozen=True, eq=False)
class _Kept:
    samples: Waveform

    def __call__(self) -> Waveform:
        return self.samples


def check_lengths(
    split: SpokenSplit, frames_of: Callable[[int], int], symbols_of: Callable[[str], list[int]], fewest: int = 1
) -> None:
    """Raise UsageError where an example has fewer frames than CTC needs for what is said in it, or than `fewest`.

    CTC needs one for each symbol, and one more for a blank between two equal ones.
    """
    for one in split.spoken:
        symbols, frames = symbols_of(one.transcript), frames_of(one.samples)
        repeats = sum(first == second for first, second in pairwise(symbols))
        needed = max(len(symbols) + repeats, fewest)
        if frames < needed:
            raise UsageError(
                f"{one.name} lasts {one.seconds:.2f} s, {max(frames, 0)} frames, and its transcript needs {needed}: "
                "take it away, or mend its transcript"
            )

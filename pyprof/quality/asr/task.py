"""Speech recognition as a task: LibriSpeech or what is laid out like it, or tones where no data are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pyprof.errors import UsageError
from pyprof.quality.asr import librispeech, tones
from pyprof.quality.asr.alphabet import Alphabet, alphabet_of
from pyprof.quality.asr.decoding import parse_decoding
from pyprof.quality.asr.errors import by_cluster, character_counts, error_rate, word_counts
from pyprof.quality.asr.published import SOURCE, published
from pyprof.quality.asr.spoken import SpokenSplit, check_lengths, of_sentences, of_utterances
from pyprof.quality.plan import Plan
from pyprof.quality.task import SPLITS, Example, Metric, Rows, Split, Task
from pyprof.quantity import format_bytes, format_seconds

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyprof.quality.asr.recogniser import Recogniser
    from pyprof.quality.outcome import SeedOutcome
    from pyprof.quality.subject import Subject

LIBRISPEECH = ("train-clean-100", "dev-clean", "test-clean")
WORD_ERROR_RATE = Metric(
    name="word_error_rate",
    title="Word error rate",
    better="lower",
    meaning="words put in, left out or put in place of others, by the words that were said",
    least=0.0,
)
# The mean length of LibriSpeech's utterances in frames, and that of the tones.
_FRAMES, _TONE_FRAMES = 615, 32
# Of someone's data the shortest are taken at these sizes, so that the task stays one of seconds or of minutes.
_MOST = {"tiny": 64, "small": 1024}
_TONES = {"train": (96, 11), "validation": (16, 12), "test": (32, 13)}
_SPEAKERS = 8


class Speech(Task):
    """Characters by CTC, judged by the word error rate.

    `directory` is LibriSpeech as it is unpacked, or anything laid out like it; `splits` names those for training,
    validation and test. `decoding` is greedy, beam or beam:WIDTH, and `context` makes an L-HuBERT of any HuBERT. Raises
    UsageError for data that are missing or do not fit.
    """

    name = "speech"
    title = "Speech recognition"
    # Whether the projection alone learns.
    frozen = False
    source = SOURCE
    metric = WORD_ERROR_RATE
    layout = "LibriSpeech's layout, SPLIT/SPEAKER/CHAPTER/*.flac with a *.trans.txt beside them"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        decoding: str = "greedy",
        splits: Sequence[str] = LIBRISPEECH,
        context: int | None = None,
    ) -> None:
        super().__init__(directory)
        if len(splits) != len(SPLITS):
            raise UsageError(f"the splits are three, for training, validation and test, not {len(splits)}")
        self.decoding, self.context = parse_decoding(decoding), context
        self.splits = dict(zip(SPLITS, splits, strict=True))
        self._utterances = cache(librispeech.read_split)

    @property
    def published(self) -> Mapping[str, float]:
        """Of LibriSpeech; beside tones, or recordings of yours, it would say nothing."""
        theirs = self.directory is not None and self.splits["test"] == LIBRISPEECH[2]
        return published(frozen=self.frozen) if theirs else {}

    @property
    def options(self) -> Mapping[str, Any]:
        """How it is decoded, an L-HuBERT's own context, and the splits of a directory."""
        splits = None if self.directory is None else list(self.splits.values())
        return {"decoding": str(self.decoding), "context": self.context, "splits": splits}

    def length(self, size: str) -> int:
        """The frames of a usual utterance, of which the cost is that of real work; there is no longest one."""
        return _TONE_FRAMES if size == "tiny" else _FRAMES

    def plan(self, size: str) -> Plan:
        """Tiny learns tones, or a few utterances by heart; the others are HuBERT's own fine-tuning, or SUPERB's.

        Fine-tuned: 25,000 updates of 1,600 seconds of speech (fairseq, base_10h.yaml; its learning rate falls
        exponentially to the half, here in a line to zero, and its transformer is not held for the first 10,000).
        Frozen: 200,000 updates of 32 utterances (Yang et al., "SUPERB", Interspeech 2021).
        """
        if size == "tiny":
            # A projection alone is as easy to train as it can say little: it takes larger steps.
            rate = 0.1 if self.frozen else 3e-3
            return Plan(steps=300, batch=8, learning_rate=rate, warmup=30, schedule="cosine", check_every=100)
        if self.frozen:
            return Plan(steps=200_000, batch=32, learning_rate=1e-4, schedule="constant", check_every=2_000)
        return Plan(
            steps=25_000,
            batch=128,
            accumulate=16,
            learning_rate=2e-5,
            warmup=8_000,
            schedule="linear",
            check_every=1_000,
        )

    def split(self, name: Split, size: str, seed: int = 0) -> SpokenSplit:
        """The utterances of one split; their waveforms are read when an example is asked for."""
        if self.directory is None:
            count, number = _TONES[name]
            return of_sentences(tones.sentences(count, (1, 3), _SPEAKERS, 100 * seed + number))
        utterances = of_utterances(self._utterances(self.directory, self.splits[name]))
        return utterances.shortest(_MOST[size]) if size in _MOST else utterances

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Waveforms (batch, samples) padded with 0, their mask, and transcripts as code points (batch, characters)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        from pyprof.quality.asr.recogniser import code_points

        sounds = [torch.from_numpy(example["waveform"]) for example in examples]
        return {
            "input_values": pad_sequence(sounds, batch_first=True),
            "attention_mask": pad_sequence([torch.ones(len(each), dtype=torch.long) for each in sounds], True),
            "characters": pad_sequence([code_points(example["transcript"]) for example in examples], True),
        }

    def alphabet(self, size: str, seed: int = 0) -> Alphabet:
        """The characters that a new head speaks: LibriSpeech's, and others of the training's transcripts."""
        return alphabet_of(one.transcript for one in self.split("train", size, seed).spoken)

    def build(self, subject: Subject, seed: int) -> nn.Module:
        """A HuBERT or L-HuBERT with a projection to characters; raises UsageError for what takes no speech."""
        from pyprof.quality.asr.recogniser import build

        recogniser = build(
            subject.model,
            self.alphabet(subject.size),
            seed=seed,
            size=subject.size,
            attention=subject.attention,
            weights=subject.weights,
            context=self.context,
            decoding=self.decoding,
            frozen=self.frozen,
            noise=subject.size != "tiny",
        )
        for name in SPLITS:
            spoken = self.split(name, subject.size)
            check_lengths(spoken, recogniser.frames, recogniser.alphabet.encode, recogniser.fewest_frames)
        return recogniser

    def judge(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """A row for each utterance: its errors and words, then `errors.COLUMNS` of words and of characters."""
        import torch

        from pyprof.quality.asr.recogniser import text_of

        said = [" ".join(text_of(row).upper().split()) for row in batch["characters"]]
        heard = [text_of(row).upper() for row in output["heard"]]
        words, characters = word_counts(said, heard), character_counts(said, heard)
        errors = words[:, :3].sum(axis=1, keepdims=True)
        return torch.from_numpy(np.hstack([errors, words[:, 3:], words, characters]).astype(np.float64))

    def baseline(self, train: Sequence[Example], test: Sequence[Example]) -> float:
        """The word error rate of an empty transcript: every word is left out."""
        return 1.0

    def shuffled(self, examples: Sequence[Example], seed: int) -> SpokenSplit:
        """The same recordings with their transcripts permuted."""
        assert isinstance(examples, SpokenSplit)
        return examples.said_otherwise(np.random.default_rng([seed, 0x5EED]).permutation(len(examples)).tolist())

    def detail(self, module: nn.Module, examples: Sequence[Example], rows: Rows, batch: int) -> dict[str, Any]:
        """Both error rates with their intervals over speakers, how it was decoded, and what a usual utterance costs."""
        from pyprof.quality.asr.cost import cost

        assert isinstance(examples, SpokenSplit)
        recogniser = cast("Recogniser", module)
        speakers = [one.speaker for one in examples.spoken]
        words, characters = rows[:, 2:6].astype(np.int64), rows[:, 6:10].astype(np.int64)
        usual = sorted(examples.spoken, key=lambda one: one.samples)[len(examples) // 2]
        return {
            "word_error_rate": error_rate(words, speakers).to_json(),
            "character_error_rate": error_rate(characters, speakers).to_json(),
            "by_cluster": by_cluster(words, speakers),
            "utterances": len(examples),
            "speakers": len(set(speakers)),
            "seconds": sum(one.seconds for one in examples.spoken),
            "decoding": str(self.decoding),
            "learns": "the projection" if self.frozen else "the model",
            "window": getattr(recogniser.model.config, "window", None),
            "attention": recogniser.model.config._attn_implementation,
            "cost": cost(recogniser, usual.read()).to_json(),
        }

    def detail_lines(self, seeds: Sequence[SeedOutcome]) -> Sequence[str]:
        """The error rates of each training and what its model costs, a sentence each."""
        return [f"seed {each.seed}: {_told(each.detail)}" for each in seeds if each.detail]


def _told(detail: Mapping[str, Any]) -> str:
    cost = detail["cost"]
    return (
        f"words {_rate(detail['word_error_rate'])}, characters {_rate(detail['character_error_rate'])}, "
        f"{detail['decoding']}; {cost['seconds']:.1f} s of speech take {format_seconds(cost['latency'])} "
        f"({cost['real_time_factor']:.4f} of real time) and {format_seconds(cost['decoding'])} to decode, at most "
        f"{format_bytes(cost['peak_memory'])}"
    )


def _rate(rate: Mapping[str, Any]) -> str:
    bounds = "" if rate["low"] is None else f" [{rate['low']:.3f}, {rate['high']:.3f}] over {rate['resampled']}"
    return f"{rate['value']:.3f}{bounds}"


class FrozenSpeech(Speech):
    """The same with a frozen encoder: the projection alone learns."""

    name = "speech_frozen"
    title = "Speech recognition, frozen encoder"
    frozen = True

"""Byte-level causal language modelling on a text: perplexity, and bits per byte."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from pyprof.errors import UsageError
from pyprof.quality.perturb import IGNORED
from pyprof.quality.plan import Plan
from pyprof.quality.task import PLACES, Example, Metric, Rows, Split, Task
from pyprof.quality.text_source import BUILT_IN, text_bytes
from pyprof.statistics.dependence import dependence
from pyprof.statistics.estimate import Estimate
from pyprof.statistics.mean import estimate_mean

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyprof.quality.outcome import SeedOutcome
    from pyprof.quality.subject import Subject

PERPLEXITY = Metric(
    name="perplexity",
    title="Perplexity a byte",
    better="lower",
    meaning="between how many bytes the model would have to guess with even odds: two to the bits per byte",
    least=1.0,
)
# A byte's token is its value and one: 0 is padding.
VOCABULARY = 257
_LENGTHS = {"tiny": 128, "small": 1024, "base": 8192}
_PLANS = {
    "tiny": Plan(steps=250, batch=16, learning_rate=1e-2, warmup=25, check_every=125),
    "small": Plan(steps=20_000, batch=32, learning_rate=1e-3, warmup=1000, weight_decay=0.01, check_every=1000),
    "base": Plan(steps=100_000, batch=8, learning_rate=3e-4, warmup=4000, weight_decay=0.01, check_every=5000),
}
# How much of a text is for validation, and how much for the test, at its end.
_HELD_OUT = 0.05
# A test at tiny size ends within a second or two; elsewhere all of the held-out text counts.
_MOST_TESTED = {"tiny": 96}
# Fewer windows than these have no interval worth its name.
_FEWEST_WINDOWS = 8


class Windows(Sequence[Example]):
    """A text cut into windows of `length` bytes, one after the other, each with the bytes that follow as its labels."""

    def __init__(self, tokens: np.ndarray[Any, Any], length: int, most: int | None = None) -> None:
        self._tokens, self._length = tokens, length
        count = max(len(tokens) - 1, 0) // length
        self._count = count if most is None else min(count, most)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        first = index % len(self) * self._length
        window = self._tokens[first : first + self._length + 1]
        return {"tokens": window[:-1], "labels": window[1:]}


class Language(Task):
    """Predict each byte of a text from those before it.

    The text is the user's, a file or a directory of ``*.txt`` files, or Python's manual; its first nine tenths are to
    learn from, the next twentieth is for validation and the last one for the test. `length` is that of a window in
    bytes, None for that of the size. Raises UsageError for a text that is too short for that.
    """

    name = "language"
    title = "Language modelling, bytes"
    source = "a text of yours, or the built-in one"
    metric = PERPLEXITY
    layout = "a text: a file, or a directory of *.txt files"

    def __init__(self, directory: Path | None = None, length: int | None = None) -> None:
        if directory is not None and not directory.exists():
            raise UsageError(f"there is no {str(directory)!r}: {self.name} needs {self.layout}")
        self.directory = directory
        self._length = length
        self._text = np.frombuffer(text_bytes(directory), dtype=np.uint8)

    @property
    def text(self) -> str:
        """Which text, with the beginning of its SHA-256."""
        name = BUILT_IN if self.directory is None else self.directory.name
        return f"{name}, {len(self._text):,} bytes, {hashlib.sha256(self._text.tobytes()).hexdigest()[:12]}"

    @property
    def options(self) -> Mapping[str, Any]:
        return {"text": self.text} if self._length is None else {"text": self.text, "length": self._length}

    def length(self, size: str) -> int:
        return self._length or _LENGTHS[size]

    def plan(self, size: str) -> Plan:
        return _PLANS[size]

    def split(self, name: Split, size: str, seed: int = 0) -> Windows:
        held = max(int(len(self._text) * _HELD_OUT), 1)
        ends = {
            "train": (0, len(self._text) - 2 * held),
            "validation": (len(self._text) - 2 * held, len(self._text) - held),
            "test": (len(self._text) - held, len(self._text)),
        }
        first, last = ends[name]
        length = self.length(size)
        windows = Windows(
            self._text[first:last].astype(np.int64) + 1, length, None if name == "train" else _MOST_TESTED.get(size)
        )
        if len(windows) < _FEWEST_WINDOWS:
            needed = math.ceil((_FEWEST_WINDOWS * length + 1) / _HELD_OUT)
            raise UsageError(
                f"the text has {len(self._text):,} bytes, and at size {size} it needs {needed:,} for a test of "
                f"{_FEWEST_WINDOWS} windows of {length:,}: name a longer one, or a smaller size"
            )
        return windows

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        import torch

        sizes = [len(each["tokens"]) for each in examples]
        tokens = torch.zeros(len(examples), max(sizes), dtype=torch.long)
        labels = torch.full_like(tokens, IGNORED)
        for row, (example, size) in enumerate(zip(examples, sizes, strict=True)):
            tokens[row, :size] = torch.as_tensor(np.ascontiguousarray(example["tokens"]))
            labels[row, :size] = torch.as_tensor(np.ascontiguousarray(example["labels"]))
        batch = {"input_ids": tokens, "labels": labels}
        if f"tokens{PLACES}" in examples[0]:
            places = torch.zeros_like(tokens)
            for row, (example, size) in enumerate(zip(examples, sizes, strict=True)):
                places[row, :size] = torch.as_tensor(example[f"tokens{PLACES}"])
            batch["position_ids"] = places
        if min(sizes) < max(sizes):
            batch["attention_mask"] = (torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]).long()
        return batch

    def build(self, subject: Subject, seed: int) -> nn.Module:
        from pyprof.quality.language_model import language_model

        return language_model(subject, VOCABULARY, self.length(subject.size), seed)

    def judge(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        import torch

        judged = batch["labels"] != IGNORED
        return torch.stack((output["nll"].double().sum(-1), judged.sum(-1).double()), dim=-1)

    def quality(self, rows: Rows) -> float:
        return perplexity(super().quality(rows))

    def detail(self, module: nn.Module, examples: Sequence[Example], rows: Rows, batch: int) -> dict[str, Any]:
        """Bits per byte and perplexity with the intervals of the text's windows."""
        return bits_per_byte(rows).to_json()

    def detail_lines(self, seeds: Sequence[SeedOutcome]) -> Sequence[str]:
        """The perplexity and the bits per byte of each training with their intervals, and which text they are of."""
        lines = [f"the text: {self.text}"]
        for each in seeds:
            if each.detail:
                lines.append(
                    f"seed {each.seed}: perplexity {_bounded(each.detail['perplexity'], 2)}, "
                    f"{_bounded(each.detail['bits'], 3)} bits a byte over {each.detail['windows']:,} windows"
                )
        return lines

    def baseline(self, train: Sequence[Example], test: Sequence[Example]) -> float:
        """The perplexity of who knows only how often each byte is, in the text to learn from."""
        counts = np.ones(VOCABULARY)
        for each in train:
            counts += np.bincount(each["labels"], minlength=VOCABULARY)
        logarithms = np.log(counts / counts.sum())
        return perplexity(-float(np.mean(np.concatenate([logarithms[each["labels"]] for each in test]))))

    def shuffled(self, examples: Sequence[Example], seed: int) -> Sequence[Example]:
        order = np.random.default_rng([seed, 0x5EED]).permutation(len(examples))
        return [
            {**example, "labels": examples[int(other)]["labels"]}
            for example, other in zip(examples, order, strict=True)
        ]


@dataclass(frozen=True)
class Bits:
    """Bits per byte over the windows of a text, with the interval of their mean, and the perplexity that they make."""

    bits: Estimate
    windows: int

    @property
    def perplexity(self) -> Estimate:
        """Two to the bits; its interval is that of the bits."""
        low, high = self.bits.interval or (None, None)
        return Estimate(2**self.bits.value, None if low is None else 2**low, None if high is None else 2**high)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields and the perplexity."""
        return {"bits": asdict(self.bits), "perplexity": asdict(self.perplexity), "windows": self.windows}


def _bounded(estimate: Mapping[str, float | None], places: int) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    return f"{value:.{places}f}" + ("" if low is None else f" [{low:.{places}f} to {high:.{places}f}]")


def bits_per_byte(rows: Rows) -> Bits:
    """From the rows of a test, (windows, 2): the windows follow one another, so those that are alike count for less."""
    bits = rows[:, 0] / rows[:, 1] / math.log(2)
    return Bits(estimate_mean(bits, dependence=dependence(bits)), len(bits))


def perplexity(nats: float) -> float:
    """What a loss in nats a token is as a perplexity; infinity where it is too large for a number."""
    return math.exp(nats) if nats < 709 else math.inf

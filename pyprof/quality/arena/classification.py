"""What the arena's tasks share: sequences of tokens that belong to one of a few classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from pyprof.quality.arena.published import SOURCE, scores
from pyprof.quality.plan import Plan
from pyprof.quality.task import PLACES, Example, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyprof.quality.subject import Encoder, Subject

# A byte is one more than its value, since 0 is the padding.
BYTES = 257
Tokens = npt.NDArray[np.int64]


def released(*, steps: int, warmup: int, check_every: int) -> Plan:
    """The schedule of the arena's released text tasks: a rate that falls with the root of the steps."""
    return Plan(
        steps=steps,
        batch=32,
        learning_rate=0.05 / warmup**0.5,
        warmup=warmup,
        schedule="rsqrt",
        weight_decay=0.1,
        clip=0.0,
        check_every=check_every,
    )


class Classification(Task):
    """A task whose example is ``{"tokens": (n,), "label": class}``, with token numbers from 1 to `vocabulary` - 1.

    `pooling` is how a sequence becomes one vector: the mean over its tokens, or its first one.
    """

    source = SOURCE
    vocabulary: ClassVar[int] = BYTES
    classes: ClassVar[int] = 2
    pooling: ClassVar[str] = "mean"

    @property
    def published(self) -> Mapping[str, float]:
        """The arena's scores of this task, as shares."""
        return scores(self.name)

    @abstractmethod
    def length(self, size: str) -> int: ...

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Token numbers and a mask (batch, longest), and labels (batch,)."""
        import torch

        tokens, mask = padded([example["tokens"] for example in examples])
        labels = torch.tensor([int(example["label"]) for example in examples])
        return {
            "input_ids": tokens,
            "attention_mask": mask,
            "labels": labels,
            **places(examples, "tokens", "position_ids"),
        }

    def build(self, subject: Subject, seed: int) -> nn.Module:
        """An encoder with a head of two layers on the pooled states."""
        from pyprof.quality.arena.heads import Classifier

        encoded = self.encoder(subject, seed)
        return Classifier(encoded, self.classes, self.pooling, seed)

    def encoder(self, subject: Subject, seed: int) -> Encoder:
        """The subject's encoder for the task; at tiny without dropout, which a training of seconds has no use for."""
        from pyprof.quality.subject import encoder

        return encoder(
            subject,
            vocabulary=self.vocabulary,
            longest=self.length(subject.size),
            seed=seed,
            dropout=0.0 if subject.size == "tiny" else None,
        )

    def judge(self, output: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
        """One for a right answer, and one for each answer."""
        import torch

        right = (output["logits"].argmax(-1) == batch["labels"]).double()
        # An answer of no numbers is none: its sum is no number, and so is the quality.
        right = right + 0 * output["logits"].double().sum(-1)
        return torch.stack((right, torch.ones_like(right)), dim=1)


def places(examples: Sequence[Example], name: str, argument: str) -> dict[str, Tensor]:
    """Where the tokens of an input stood before some were taken out, (batch, longest); nothing where none were."""
    key = f"{name}{PLACES}"
    return {argument: padded([each[key] for each in examples])[0]} if key in examples[0] else {}


def padded(sequences: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Token numbers (batch, longest) with 0 on the right, and their mask, 1 for tokens."""
    import torch

    longest = max(len(tokens) for tokens in sequences)
    filled = np.zeros((len(sequences), longest), dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, tokens in enumerate(sequences):
        filled[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return torch.from_numpy(filled), torch.from_numpy(mask)


def of_bytes(text: bytes, longest: int) -> Tokens:
    """The first bytes of a text as token numbers."""
    return np.frombuffer(text[:longest], dtype=np.uint8).astype(np.int64) + 1

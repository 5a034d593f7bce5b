"""A causal encoder with a head that predicts the next token, and documents read with what is remembered of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pyprof.errors import UsageError
from pyprof.models.blueprint import preserved_random
from pyprof.models.zoo.carried import carrying, remembering
from pyprof.models.zoo.encoder import ZooEncoder
from pyprof.quality.perturb import IGNORED
from pyprof.quality.subject import Encoder, Subject, encoder
from pyprof.quality.task import Example, Rows

if TYPE_CHECKING:
    from pyprof.quality.language import Language


# As many tokens show whether a model is causal.
_PROVED = 32


class LanguageModel(nn.Module):
    """The negative logarithm of the probability of each next token, in nats.

    Called with token numbers and labels, both (batch, length), it gives the mean `loss` over the labels, and `nll`
    (batch, length), zero where there is no label.
    """

    def __init__(self, encoder: Encoder, vocabulary: int) -> None:
        super().__init__()
        self._encoder = encoder
        self.model = encoder.module
        self.head = nn.Linear(encoder.width, vocabulary)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        logits = self.head(self._encoder.hidden(input_ids, attention_mask, position_ids))
        nll = functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        ).view(labels.shape)
        return {"loss": nll.sum() / (labels != IGNORED).sum().clamp(min=1), "nll": nll}


def language_model(subject: Subject, vocabulary: int, longest: int, seed: int) -> LanguageModel:
    """The subject, in its causal form, as a language model; at tiny without dropout.

    Raises UsageError where it has no causal form.
    """
    dropout = 0.0 if subject.size == "tiny" else None
    built = encoder(subject, vocabulary=vocabulary, longest=longest, seed=seed, causal=True, dropout=dropout)
    if not isinstance(built.module, ZooEncoder):
        _prove_causal(built, subject, vocabulary, min(longest, _PROVED))
    with preserved_random(seed):
        return LanguageModel(built, vocabulary)


@torch.no_grad()
def _prove_causal(built: Encoder, subject: Subject, vocabulary: int, length: int) -> None:
    """Raise UsageError where a later token changes what an earlier one is: such a model would be told the answers."""
    training = built.module.training
    built.module.eval()
    tokens = torch.arange(length)[None] % (vocabulary - 1) + 1
    before = built.hidden(tokens)[:, :-1]
    tokens[:, -1] = tokens[:, -1] % (vocabulary - 1) + 1
    after = built.hidden(tokens)[:, :-1]
    built.module.train(training)
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
        raise UsageError(f"{subject.model} sees tokens that come later, even in its causal form: train one of the zoo")


def remembers(module: nn.Module) -> bool:
    """Whether a model can carry a state from one window of a text to the next."""
    return bool(remembering(module))


@torch.no_grad()
def judged_with_memory(
    task: Language, module: nn.Module, windows: Sequence[Example], streams: int
) -> tuple[Rows, Rows]:
    """The rows of windows that follow one another, without and with what is remembered of those before.

    The windows are read as `streams` documents side by side, each with as many windows. The first window of each
    remembers nothing and is left out of both. The module is in eval mode, on the device that its parameters are on.
    """
    device = next(module.parameters()).device
    streams = max(min(streams, len(windows) // 2), 1)
    steps = len(windows) // streams

    def read() -> Rows:
        rows = []
        for step in range(steps):
            batch = task.collate([windows[stream * steps + step] for stream in range(streams)])
            batch = {name: each.to(device) for name, each in batch.items()}
            rows.append(task.judge(module(**batch), batch).cpu().numpy())
        return np.stack(rows[1:], axis=1).reshape(-1, 2)

    without = read()
    with carrying(module):
        return without, read()

"""Heads that make classes of hidden states."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyprof.models.blueprint import preserved_random
from pyprof.quality.subject import Encoder


class Classifier(nn.Module):
    """An encoder, its states pooled, and two layers with a ReLU between them (the arena's head).

    Takes token numbers and a mask (batch, length) and labels (batch,); gives the cross-entropy as `loss`, and `logits`
    (batch, classes).
    """

    def __init__(self, encoder: Encoder, classes: int, pooling: str, seed: int) -> None:
        super().__init__()
        self._pool = _Pooled(encoder, pooling)
        self.encoder = encoder.module
        with preserved_random(seed):
            self.head = _head(encoder.width, encoder.width, classes)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, position_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        return _answer(self.head(self._pool(input_ids, attention_mask, position_ids)), labels)


class TwoTowers(nn.Module):
    """One encoder reads two documents, each by itself, and a head compares the two vectors: u, v, |u - v| and u v.

    Takes `input_ids` and `attention_mask`, `other_ids` and `other_mask`, and labels; gives what `Classifier` gives.
    """

    def __init__(self, encoder: Encoder, classes: int, pooling: str, seed: int) -> None:
        super().__init__()
        self._pool = _Pooled(encoder, pooling)
        self.encoder = encoder.module
        with preserved_random(seed):
            self.head = _head(4 * encoder.width, encoder.width, classes)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        other_ids: Tensor,
        other_mask: Tensor,
        labels: Tensor,
        position_ids: Tensor | None = None,
        other_position_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        one = self._pool(input_ids, attention_mask, position_ids)
        other = self._pool(other_ids, other_mask, other_position_ids)
        return _answer(self.head(torch.cat((one, other, (one - other).abs(), one * other), dim=-1)), labels)


class _Pooled:
    """No module of its own, so that the encoder is registered once."""

    def __init__(self, encoder: Encoder, pooling: str) -> None:
        self._encoder = encoder
        self._pooling = pooling

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor | None = None) -> Tensor:
        hidden = self._encoder.hidden(input_ids, attention_mask, position_ids)
        if self._pooling == "first":
            return hidden[:, 0]
        weight = attention_mask.to(hidden.dtype)[..., None]
        return (hidden * weight).sum(1) / weight.sum(1)


def _head(width: int, hidden: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def _answer(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {"loss": functional.cross_entropy(logits.float(), labels), "logits": logits}

"""The encoder that all of the zoo shares: pre-norm layers, of which a mechanism replaces one part."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from pyprof.errors import UsageError
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.dense import Dense
from pyprof.models.zoo.mechanisms import mechanism
from pyprof.models.zoo.parts import Attention, Embedding, FeedForward, Part


class Layer(nn.Module):
    """One layer: x + attention(norm(x)), then x + feedforward(norm(x)) where there is a feed-forward part."""

    def __init__(self, config: ZooConfig, attention: Attention, feedforward: FeedForward | None) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = attention
        self.feedforward_norm = None if feedforward is None else nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feedforward = feedforward
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.fed(hidden + self.dropout(self.attention(self.attention_norm(hidden), mask)), mask)

    def fed(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """The second half of the layer."""
        if self.feedforward is None or self.feedforward_norm is None:
            return hidden
        fed: Tensor = hidden + self.dropout(self.feedforward(self.feedforward_norm(hidden), mask))
        return fed


class Stack(Part):
    """The layers one after the other; `part` is the class that replaces attention or feed-forward in them."""

    LAYERS_SHARED = False

    def __init__(self, config: ZooConfig, part: type[Part] = Dense, **options: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            self._layer(config, part, options, 0 if self.LAYERS_SHARED else depth)
            for depth in range(1 if self.LAYERS_SHARED else config.num_hidden_layers)
        )

    def _layer(self, config: ZooConfig, part: type[Part], options: dict[str, Any], depth: int) -> Layer:
        if issubclass(part, Attention):
            attention = part(config, depth, **options)
            return Layer(config, attention, FeedForward(config) if part.FEEDFORWARD else None)
        feedforward = part(config, **options) if issubclass(part, FeedForward) else FeedForward(config)
        return Layer(config, Dense(config, depth), feedforward)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return hidden


class ZooEncoder(nn.Module):
    """Token numbers to hidden states, by the mechanism that the configuration names.

    Raises UsageError for a mechanism that does not exist, and for the causal form of one that has none.
    """

    main_input_name = "input_ids"

    def __init__(self, config: ZooConfig) -> None:
        super().__init__()
        self.config = config
        chosen = mechanism(config.attention)
        module, _, name = chosen.where.partition(":")
        part: type[Part] = getattr(import_module(module), name)
        if config.causal and not part.CAUSAL:
            raise UsageError(f"the mechanism {chosen.name} has no causal form: leave causal out")
        options: dict[str, Any] = dict(config.options)
        self.embeddings = part(config, **options) if issubclass(part, Embedding) else Embedding(config)
        if issubclass(part, Stack):
            self.stack: Stack = part(config, **options)
        else:
            self.stack = Stack(config) if issubclass(part, Embedding) else Stack(config, part, **options)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> BaseModelOutput:
        """Token numbers (batch, length) and a mask of them, 1 for tokens and 0 for padding on the right.

        `position_ids` (batch, length) says where they stand; without it they stand one after the other.
        """
        mask = None if attention_mask is None else attention_mask.bool()
        hidden, mask = self.embeddings(input_ids, mask, position_ids)
        return BaseModelOutput(last_hidden_state=self.norm(self.stack(hidden, mask)))

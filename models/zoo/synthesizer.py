"""Synthesizer: the attention matrix is made without comparing tokens.

Family: low rank / kernel
Source: Tay et al., "Synthesizer: Rethinking Self-Attention for Transformer Models", ICML 2021, section 3
Equation: softmax(B) V, where B is F(x_i) of each token alone (dense), a learned matrix (random), a product of two thin
    ones (factorised), or F(x_i) beside the usual scores (mixture)
Complexity: L * L
Addresses: attention
Cannot: cross-attention
Limit: the mean of the values where B is zero; dense attention where the mixture's F is zero
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention, repeated
from pyprof.models.zoo.softmax import both, earlier, of_keys, scores, weighted


class Dense(Attention):
    """Each head's F is two layers: from its share of the token to its own width, ReLU, then to a score a position."""

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.register_module("key", None)
        self.places = nn.Parameter(torch.empty(self.heads, self.head_dim, config.max_position_embeddings))
        nn.init.normal_(self.places, std=self.head_dim**-0.5)

    def extend(self, longest: int) -> None:
        self.places = repeated(self.places, longest, 2)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.join(self.mix(self.synthesised(hidden), self.split(self.value(hidden)), mask))

    def synthesised(self, hidden: Tensor) -> Tensor:
        """Scores (batch, heads, length, length)."""
        return torch.matmul(self.split(self.query(hidden)).relu(), self.places[:, :, : hidden.shape[1]])

    def mix(self, synthesised: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """The values under the softmax of scores."""
        length = value.shape[2]
        seen = both(of_keys(mask), earlier(length, length, value.device) if self.causal else None)
        return weighted(synthesised, value, seen, self.rate)


class Random(Dense):
    """A learned matrix for each head, the same for every input."""

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.register_module("query", None)
        longest = config.max_position_embeddings
        self.places = nn.Parameter(torch.empty(self.heads, longest, longest))
        nn.init.normal_(self.places)

    def extend(self, longest: int) -> None:
        self.places = repeated(self.places, longest, 1, 2)

    def synthesised(self, hidden: Tensor) -> Tensor:
        length = hidden.shape[1]
        return self.places[:, :length, :length].expand(len(hidden), -1, -1, -1)


class Factorised(Dense):
    """The same as a product of two matrices of `rank` columns."""

    def __init__(self, config: ZooConfig, layer: int, *, rank: int) -> None:
        super().__init__(config, layer)
        self.register_module("query", None)
        self.places = nn.Parameter(torch.empty(2, self.heads, config.max_position_embeddings, rank))
        nn.init.normal_(self.places, std=rank**-0.25)

    def extend(self, longest: int) -> None:
        self.places = repeated(self.places, longest, 2)

    def synthesised(self, hidden: Tensor) -> Tensor:
        left, right = self.places[:, :, : hidden.shape[1]]
        return torch.matmul(left, right.transpose(-1, -2)).expand(len(hidden), -1, -1, -1)


class Mixture(Dense):
    """Dense synthetic scores added to the usual ones, as Long Range Arena ran it."""

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)

    def synthesised(self, hidden: Tensor) -> Tensor:
        compared = scores(self.split(self.query(hidden)), self.split(self.key(hidden)))
        return super().synthesised(hidden) + compared

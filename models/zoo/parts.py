"""The parts of the zoo's encoder, of which a mechanism replaces one: attention, feed-forward, embedding or stack.

Hidden states are (batch, length, width). A mask is (batch, length), True for tokens; padding is on the right, and what
a mechanism gives for tokens does not depend on it. None stands for no padding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyprof.models.zoo.config import ZooConfig


class Part(nn.Module):
    """What every part of the encoder can be told; a part that a mechanism replaces takes its options by keyword.

    CAUSAL says whether there is an autoregressive form of it.
    """

    CAUSAL = True

    def fit(self, length: int) -> None:
        """Set what the mechanism's source derives from the length, such as a stride of its square root."""

    def extend(self, longest: int) -> None:
        """Lengthen parameters that belong to positions, by repeating their rows."""


class Attention(Part):
    """Multi-head self-attention; a mechanism overrides `attend`, or `forward` where that is not enough.

    FEEDFORWARD says whether a layer keeps its feed-forward part beside it.
    """

    FEEDFORWARD = True

    def __init__(self, config: ZooConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.causal = config.causal
        self.dropout = config.dropout
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    @property
    def rate(self) -> float:
        """The share of attention weights that are dropped now."""
        return self.dropout if self.training else 0.0

    def split(self, hidden: Tensor) -> Tensor:
        """(batch, length, width) as (batch, heads, length, head_dim)."""
        return torch.unflatten(hidden, -1, (self.heads, -1)).transpose(1, 2)

    def join(self, context: Tensor) -> Tensor:
        """(batch, heads, length, head_dim) through the output projection, as (batch, length, width)."""
        joined: Tensor = self.output(context.transpose(1, 2).flatten(2))
        return joined

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key, value = (self.split(project(hidden)) for project in (self.query, self.key, self.value))
        return self.join(self.attend(query, key, value, mask))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries, keys and values of shape (batch, heads, length, head_dim) to context of that shape."""
        raise NotImplementedError


class FeedForward(Part):
    """Two linear layers with a GELU between them."""

    def __init__(self, config: ZooConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        contracted: Tensor = self.contract(functional.gelu(self.expand(hidden)))
        return contracted


class Embedding(Part):
    """Tokens' vectors and sinusoidal positions (Vaswani et al., 2017, section 3.5)."""

    # For how many tokens one position of the hidden states stands.
    downsampling = 1

    def __init__(self, config: ZooConfig) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Hidden states, and the mask that belongs to them; `places` (batch, length) is where the tokens stand."""
        hidden = self.tokens(tokens)
        return self.dropout(hidden + positions_at(places, hidden)), mask


def positions(length: int, like: Tensor, start: int = 0) -> Tensor:
    """Sinusoids of the positions from `start`, (length, width), in the type and on the device of `like`."""
    width = like.shape[-1]
    steps = torch.arange(start, start + length, device=like.device, dtype=torch.float32)
    rates = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=torch.float32) * (-math.log(1e4) / width))
    angles = steps[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1).to(like.dtype)


def positions_at(places: Tensor | None, hidden: Tensor) -> Tensor:
    """The sinusoids of hidden states (batch, length, width), one after the other or at `places` (batch, length)."""
    if places is None:
        return positions(hidden.shape[1], hidden)
    return positions(int(places.max()) + 1, hidden)[places]


def repeated(table: Tensor, longest: int, *dims: int) -> nn.Parameter:
    """A parameter as long as `longest` along some dimensions, its rows repeated."""
    for dim in dims:
        rows = torch.arange(longest, device=table.device) % table.shape[dim]
        table = table.detach().index_select(dim, rows)
    return nn.Parameter(table)

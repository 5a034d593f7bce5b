"""Block-Recurrent Transformer: a block of tokens and a set of state vectors attend to each other, block after block.

Family: recurrence
Source: Hutchins et al., "Block-Recurrent Transformers", NeurIPS 2022, section 3
Equation: tokens look at [block before; block] and at the states, states at the states and at the block; a state is
    c g + z (1 - g) with a learned gate g = sigmoid(b) (the fixed gate)
Complexity: L * (2 * block + 2 * states)
Addresses: attention
Cannot: cross-attention
Limit: dense attention where block >= L and the output ignores the states
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyprof.models.zoo.carried import Remembering
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.softmax import earlier, scores, weighted


@dataclass(frozen=True)
class Recalled:
    """The states, (batch, states, width), and the block before with what of it are tokens."""

    state: Tensor
    before: Tensor
    there: Tensor


class BlockRecurrent(Remembering):
    """Blocks of `block` tokens and `states` state vectors; the keys and values of either are shared by both."""

    def __init__(self, config: ZooConfig, layer: int, *, block: int, states: int) -> None:
        super().__init__(config, layer)
        width = config.hidden_size
        self.block = block
        self.initial = nn.Parameter(torch.empty(1, states, width))
        nn.init.normal_(self.initial)
        self.state_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.state_key, self.state_value = nn.Linear(width, width), nn.Linear(width, width)
        self.token_to_state, self.state_to_state, self.state_to_token = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(2 * width, width)
        self.state_output = nn.Linear(2 * width, width)
        self.gate = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.gate)

    def start(self, hidden: Tensor) -> Recalled:
        nothing = torch.ones(len(hidden), 0, dtype=torch.bool, device=hidden.device)
        return Recalled(self.initial.expand(len(hidden), -1, -1), hidden[:, :0], nothing)

    def read(self, hidden: Tensor, there: Tensor, memory: Recalled) -> tuple[Tensor, Recalled]:
        state, before, before_there = memory.state, memory.before, memory.there
        contexts = []
        for part, tokens in zip(torch.split(hidden, self.block, 1), torch.split(there, self.block, 1), strict=True):
            context, state = self.step(
                part, tokens, torch.cat((before, part), dim=1), torch.cat((before_there, tokens), dim=1), state
            )
            contexts.append(context)
            before, before_there = part, tokens
        return torch.cat(contexts, dim=1), Recalled(state, before, before_there)

    def step(
        self, hidden: Tensor, tokens: Tensor, source: Tensor, there: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One block, which ends `source`: its context, and the states after it."""
        block = hidden.shape[1]
        normed = self.state_norm(state)
        key, value = self.split(self.key(source)), self.split(self.value(source))
        keys, values = self.split(self.state_key(normed)), self.split(self.state_value(normed))
        seen = there[:, None, None, :]
        if self.causal:
            seen = seen & earlier(block, source.shape[1], hidden.device)
        own = weighted(scores(self.split(self.query(hidden)), key), value, seen, self.rate)
        read = weighted(scores(self.split(self.token_to_state(hidden)), keys), values, None, self.rate)
        kept = weighted(scores(self.split(self.state_to_state(normed)), keys), values, None, self.rate)
        query = self.split(self.state_to_token(normed))
        written = weighted(scores(query, key[:, :, -block:]), value[:, :, -block:], tokens[:, None, None, :], self.rate)
        gate = self.gate.sigmoid()
        after = state * gate + self.state_output(_beside(kept, written)) * (1 - gate)
        context: Tensor = self.output(_beside(own, read))
        return context, after


def _beside(first: Tensor, second: Tensor) -> Tensor:
    """Two contexts of heads side by side, (batch, length, 2 width)."""
    return torch.cat((first, second), dim=1).transpose(1, 2).flatten(2)

"""Transformer-XL: segments one after the other, each of which also looks at the states of those before.

Family: recurrence
Source: Dai et al., "Transformer-XL: Attentive Language Models beyond a Fixed-Length Context", ACL 2019, section 3
Equation: softmax over [SG(memory); segment] of (q_i + u)^T k_j + (q_i + v)^T W_R R_(i-j), section 3.3
Complexity: L * 2 * (segment + memory)
Addresses: attention
Cannot: cross-attention
Limit: dense attention where segment >= L and the terms of relative positions are zero
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyprof.models.zoo.carried import Remembering
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import positions
from pyprof.models.zoo.softmax import earlier, weighted


@dataclass(frozen=True)
class Memory:
    """The states of earlier positions, (batch, memory, width), and which of them are tokens, (batch, memory)."""

    states: Tensor
    there: Tensor


class TransformerXl(Remembering):
    """Segments of `segment` positions, and the last `memory` positions before them, through which no gradient flows.

    `step` takes one segment and what is remembered, and gives what is remembered after it: a longer document is read
    by calling it again. Where the form is not causal, a segment is seen as a whole.
    """

    def __init__(self, config: ZooConfig, layer: int, *, segment: int, memory: int) -> None:
        super().__init__(config, layer)
        self.segment, self.memory = segment, memory
        self.relative = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.biases = nn.Parameter(torch.empty(2, self.heads, 1, self.head_dim))
        nn.init.zeros_(self.biases)

    def read(self, hidden: Tensor, there: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        parts = []
        for part, tokens in zip(torch.split(hidden, self.segment, 1), torch.split(there, self.segment, 1), strict=True):
            context, memory = self.step(part, tokens, memory)
            parts.append(context)
        return torch.cat(parts, dim=1), memory

    def start(self, hidden: Tensor) -> Memory:
        """What is remembered before the first segment: nothing."""
        return Memory(hidden[:, :0], torch.ones(len(hidden), 0, dtype=torch.bool, device=hidden.device))

    def step(self, hidden: Tensor, there: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """One segment: its context, and what is remembered after it."""
        context = self.look(hidden, torch.cat((memory.states, hidden), dim=1), torch.cat((memory.there, there), dim=1))
        return context, self.remembered(memory, hidden, there)

    def remembered(self, memory: Memory, hidden: Tensor, there: Tensor) -> Memory:
        """The last `memory` positions, cut off from the gradient."""
        states, tokens = torch.cat((memory.states, hidden.detach()), dim=1), torch.cat((memory.there, there), dim=1)
        first = max(states.shape[1] - self.memory, 0)
        return Memory(states[:, first:], tokens[:, first:])

    def look(self, hidden: Tensor, source: Tensor, there: Tensor) -> Tensor:
        """Attention of a segment to a source that ends with it."""
        queries, keys = hidden.shape[1], source.shape[1]
        query, key, value = self.split(self.query(hidden)), self.split(self.key(source)), self.split(self.value(source))
        # Distances from that of the last query to the first key down to that of the first query to the last key.
        distances = positions(queries + keys - 1, hidden, start=1 - queries).flip(0)
        turned = self.split(self.relative(distances)[None])
        content, place = self.biases
        by_place = (query + place) @ turned.transpose(-1, -2)
        rows, columns = torch.arange(queries, device=hidden.device), torch.arange(keys, device=hidden.device)
        index = (queries - 1 - rows[:, None] + columns).expand(*by_place.shape[:2], -1, -1)
        products = (query + content) @ key.transpose(-1, -2) + by_place.gather(-1, index)
        seen = there[:, None, None, :]
        if self.causal:
            seen = seen & earlier(queries, keys, hidden.device)
        return self.join(weighted(products / math.sqrt(self.head_dim), value, seen, self.rate))

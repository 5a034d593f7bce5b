"""Compressive Transformer: what falls out of the memory of a Transformer-XL is kept in compressed form.

Family: recurrence
Source: Rae et al., "Compressive Transformers for Long-Range Sequence Modelling", ICLR 2020, section 3
Equation: as in Transformer-XL over [compressed memory; memory; segment]; a strided convolution makes one compressed
    state of c old ones
Complexity: L * 2 * (segment + memory + compressed)
Addresses: attention
Cannot: cross-attention
Limit: Transformer-XL where nothing falls out of the memory
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.transformer_xl import Memory, TransformerXl


@dataclass(frozen=True)
class TwoMemories(Memory):
    """The recent memory, and before it the compressed one."""

    compressed: Memory


class Compressive(TransformerXl):
    """The last `compressed` states, each made of `ratio` old ones.

    The convolution learns from the task's gradient; the paper's loss of attention reconstruction is not here.
    """

    def __init__(
        self, config: ZooConfig, layer: int, *, segment: int, memory: int, compressed: int, ratio: int
    ) -> None:
        super().__init__(config, layer, segment=segment, memory=memory)
        self.compressed = compressed
        self.compress = nn.Conv1d(config.hidden_size, config.hidden_size, ratio, stride=ratio)

    def start(self, hidden: Tensor) -> TwoMemories:
        nothing = super().start(hidden)
        return TwoMemories(nothing.states, nothing.there, nothing)

    def step(self, hidden: Tensor, there: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        assert isinstance(memory, TwoMemories)
        old = memory.compressed
        source = torch.cat((old.states, memory.states, hidden), dim=1)
        context = self.look(hidden, source, torch.cat((old.there, memory.there, there), dim=1))
        return context, self.remembered(memory, hidden, there)

    def remembered(self, memory: Memory, hidden: Tensor, there: Tensor) -> Memory:
        assert isinstance(memory, TwoMemories)
        recent = super().remembered(memory, hidden, there)
        fallen = memory.states.shape[1] + hidden.shape[1] - recent.states.shape[1]
        # What does not fill a last group of the convolution is dropped; whole segments always do.
        fallen -= fallen % self.compress.stride[0]
        if not fallen:
            return TwoMemories(recent.states, recent.there, memory.compressed)
        out = torch.cat((memory.states, hidden.detach()), dim=1)[:, :fallen]
        tokens = torch.cat((memory.there, there), dim=1)[:, :fallen]
        groups = torch.unflatten(tokens, 1, (-1, self.compress.stride[0])).any(dim=-1)
        made = self.compress(out.transpose(1, 2)).transpose(1, 2)
        states = torch.cat((memory.compressed.states, made), dim=1)[:, -self.compressed :]
        kept = torch.cat((memory.compressed.there, groups), dim=1)[:, -self.compressed :]
        return TwoMemories(recent.states, recent.there, Memory(states, kept))

"""Universal Transformer: one layer, applied again and again, and each position halts by itself.

Family: sparse and conditional
Source: Dehghani et al., "Universal Transformers", ICLR 2019, section 2 and appendix C; halting after Graves, "Adaptive
    Computation Time for Recurrent Neural Networks", 2016
Equation: h^t = Layer(h^(t-1) + P + P^t); the output is sum_t p^t h^t, where p^t = sigmoid(w h) until their sum would
    pass 1 - e, and then what is left of 1
Complexity: L * L
Addresses: depth
Cannot: cross-attention
Limit: a plain stack whose layers are the same, where no position halts before the last step
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.encoder import Stack
from pyprof.models.zoo.parts import positions

_ENOUGH = 0.99


class Universal(Stack):
    """As many steps of the one layer as the encoder has layers; every step is computed for all positions."""

    LAYERS_SHARED = True

    def __init__(self, config: ZooConfig) -> None:
        super().__init__(config)
        self.steps = config.num_hidden_layers
        self.halt = nn.Linear(config.hidden_size, 1)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        places = positions(hidden.shape[1], hidden)
        halted = torch.zeros_like(hidden[..., :1])
        output = torch.zeros_like(hidden)
        for step in range(self.steps):
            hidden = self.layers[0](hidden + places + positions(1, hidden, start=step), mask)
            share = self.halt(hidden).sigmoid()
            left = 1 - halted
            if step == self.steps - 1:
                share = left
            else:
                share = torch.where(halted >= 1, 0.0, torch.where(halted + share > _ENOUGH, left, share))
            output = output + share * hidden
            halted = halted + share
        return output

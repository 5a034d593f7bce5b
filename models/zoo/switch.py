"""Switch Transformer: each token goes to one of several feed-forward parts.

Family: sparse and conditional
Source: Fedus, Zoph, Shazeer, "Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient
    Sparsity", JMLR 2022, section 2
Equation: y = p_i(x) E_i(x) for i = argmax p(x), p = softmax(W x); at most tokens / experts x capacity tokens an
    expert; loss N sum_i f_i P_i
Complexity: L * L
Addresses: feed-forward
Cannot: nothing
Limit: the dense feed-forward part where there is one expert
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import FeedForward


class Switch(FeedForward):
    """`experts` feed-forward parts, of which a sequence may send each `capacity` times its even share of the tokens.

    Tokens come in the order of the sequence; those beyond the capacity go to no expert and pass by the residual.
    `balance_loss` is that of the last forward, for a training loop to add. Attention stays dense, which is what the
    complexity says; the experts' cost grows with L.
    """

    def __init__(self, config: ZooConfig, *, experts: int, capacity: float) -> None:
        super().__init__(config)
        del self.expand, self.contract
        width, inner = config.hidden_size, config.intermediate_size
        self.capacity = capacity
        self.router = nn.Linear(width, experts, bias=False)
        self.expand_weight = nn.Parameter(torch.empty(experts, width, inner))
        self.contract_weight = nn.Parameter(torch.empty(experts, inner, width))
        self.expand_bias = nn.Parameter(torch.zeros(experts, 1, inner))
        self.contract_bias = nn.Parameter(torch.zeros(experts, 1, width))
        for weight in (self.expand_weight, self.contract_weight):
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
        self.balance_loss: Tensor | None = None

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, length, width = hidden.shape
        experts = self.router.out_features
        shares = self.router(hidden).softmax(dim=-1)
        gate, expert = shares.max(dim=-1)
        chosen = functional.one_hot(expert, experts)
        if mask is not None:
            chosen = chosen * mask[..., None]
        tokens = chosen.sum(dim=(1, 2))
        self.balance_loss = balance(chosen, shares, mask)
        # A token's number among those of its expert; from the capacity on there is no place for it.
        number = (chosen.cumsum(dim=1) * chosen).sum(dim=-1) - 1
        most = max(math.ceil(length * self.capacity / experts), 1)
        own = torch.ceil(tokens * self.capacity / experts).clamp(min=1)
        taken = (number >= 0) & (number < own[:, None])
        place = torch.where(taken, expert * most + number, experts * most)
        index = place[..., None].expand(-1, -1, width)
        sent = hidden.new_zeros(batch, experts * most + 1, width).scatter(1, index, hidden)
        parts = torch.unflatten(sent[:, :-1], 1, (experts, most))
        inner = functional.gelu(parts @ self.expand_weight + self.expand_bias)
        made = (inner @ self.contract_weight + self.contract_bias).flatten(1, 2)
        back = functional.pad(made, (0, 0, 0, 1)).gather(1, index)
        return torch.mul(back, gate[..., None])


def balance(chosen: Tensor, shares: Tensor, mask: Tensor | None) -> Tensor:
    """N sum_i f_i P_i: 1 where tokens and probabilities are spread evenly, N where one expert has all."""
    there = torch.ones_like(shares[..., 0]) if mask is None else mask.to(shares.dtype)
    count = there.sum()
    sent = chosen.to(shares.dtype).sum(dim=(0, 1)) / count
    probability = (shares * there[..., None]).sum(dim=(0, 1)) / count
    return shares.shape[-1] * (sent * probability).sum()

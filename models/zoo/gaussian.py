"""Hard-coded Gaussian attention: fixed bell curves over the neighbours, without queries and keys.

Family: fixed pattern
Source: You, Sun, Iyyer, "Hard-Coded Gaussian Attention for Neural Machine Translation", ACL 2020, section 3
Equation: sum over j of N(j; i + c, s^2) v_j, where a head's centre c is -1, 0 or 1 (in the causal form -1 or 0)
Complexity: L * (2 * radius + 1)
Addresses: attention
Cannot: cross-attention
Limit: the values themselves where the deviation goes to zero and its density is normalised
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention


class Gaussian(Attention):
    """Bell curves of a `deviation` in positions, cut off `radius` positions away, where float64 holds no more of them.

    The paper computes them over the whole length; cut off they are a depthwise convolution.
    """

    def __init__(self, config: ZooConfig, layer: int, *, deviation: float, radius: int) -> None:
        super().__init__(config, layer)
        self.deviation, self.radius = deviation, radius
        self.register_module("query", None)
        self.register_module("key", None)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.join(self.blur(self.split(self.value(hidden)), mask))

    def blur(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Values (batch, heads, length, head_dim), averaged with each head's bell curve."""
        if mask is not None:
            value = value * mask[:, None, :, None]
        heads, _, dim = value.shape[1:]
        weight = self.curves(value).repeat_interleave(dim, dim=0)[:, None]
        flat = value.transpose(2, 3).flatten(1, 2)
        blurred = functional.conv1d(flat, weight, padding=self.radius, groups=heads * dim)
        return torch.unflatten(blurred, 1, (heads, dim)).transpose(2, 3)

    def curves(self, like: Tensor) -> Tensor:
        """Each head's weights of the neighbours from -radius to radius, (heads, 2 radius + 1)."""
        centres = (-1, 0) if self.causal else (-1, 0, 1)
        centre = torch.tensor([centres[head % len(centres)] for head in range(self.heads)], device=like.device)
        steps = torch.arange(-self.radius, self.radius + 1, device=like.device)
        far = (steps - centre[:, None]).double() / self.deviation
        density = torch.exp(-(far**2) / 2) / (self.deviation * math.sqrt(2 * math.pi))
        if self.causal:
            density = density * (steps <= 0)
        return density.to(like.dtype)

"""Nyströmformer: the softmax matrix is approximated from landmarks, the means of segments.

Family: low rank / kernel
Source: Xiong et al., "Nyströmformer: A Nyström-based Algorithm for Approximating Self-Attention", AAAI 2021
Equation: softmax(Q K~^T) softmax(Q~ K~^T)^+ softmax(Q~ K^T) V, the pseudo-inverse by iteration, and a depthwise
    convolution of V
Complexity: L * (2 * landmarks + kernel / 2) + 2 * iterations * landmarks**3 / d
Addresses: attention
Cannot: autoregression, cross-attention
Limit: dense attention (beside the convolution) where every token is a landmark
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.parts import Attention
from pyprof.models.zoo.softmax import of_keys, scores, weighted


class Nystrom(Attention):
    """`landmarks` segments of each sequence without its padding, and a convolution over `kernel` neighbours.

    A sequence that is shorter than that has as many landmarks as tokens.
    """

    CAUSAL = False

    def __init__(self, config: ZooConfig, layer: int, *, landmarks: int, iterations: int, kernel: int) -> None:
        super().__init__(config, layer)
        self.landmarks, self.iterations = landmarks, iterations
        self.convolution = nn.Conv2d(
            self.heads, self.heads, (kernel, 1), padding=(kernel // 2, 0), groups=self.heads, bias=False
        )

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            value = value * mask[:, None, :, None]
        rows, there = self.segment_means(query, mask)
        columns, _ = self.segment_means(key, mask)
        of_landmarks = None if there is None else there[:, None, None, :]
        identity = torch.eye(self.landmarks, dtype=query.dtype, device=query.device).expand(*rows.shape[:2], -1, -1)
        kernel = weighted(scores(rows, columns), identity, of_landmarks)
        if there is not None:
            kernel = kernel * there[:, None, :, None]
        gathered = weighted(scores(rows, key), value, of_keys(mask), self.rate)
        context = weighted(scores(query, columns), self.inverse(kernel) @ gathered, of_landmarks)
        convolved: Tensor = self.convolution(value)
        return context + convolved

    def segment_means(self, states: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The means of each sequence's segments, and which of the landmarks exist (None where all do)."""
        batch, _, length, dim = states.shape
        if mask is None and length % self.landmarks == 0:
            return torch.unflatten(states, 2, (self.landmarks, -1)).mean(dim=3), None
        if mask is None:
            mask = torch.ones(batch, length, dtype=torch.bool, device=states.device)
        places = torch.arange(length, device=states.device)
        # What is padding goes to a segment of its own, which is dropped.
        segment = (places * self.landmarks // mask.sum(dim=-1, keepdim=True)).masked_fill(~mask, self.landmarks)
        count = torch.zeros(batch, self.landmarks + 1, dtype=states.dtype, device=states.device)
        count = count.scatter_add(1, segment, mask.to(states.dtype))[:, : self.landmarks]
        sums = states.new_zeros(batch, self.heads, self.landmarks + 1, dim)
        sums = sums.scatter_add(2, segment[:, None, :, None].expand_as(states), states)[:, :, : self.landmarks]
        return sums / count.clamp(min=1)[:, None, :, None], count > 0

    def inverse(self, kernel: Tensor) -> Tensor:
        """The pseudo-inverse by the iteration of Razavi et al. (2014), of third order."""
        size = kernel.shape[-1]
        identity = torch.eye(size, dtype=kernel.dtype, device=kernel.device)
        largest = kernel.abs().sum(-1).amax(-1) * kernel.abs().sum(-2).amax(-1)
        inverse = kernel.transpose(-1, -2) / largest[..., None, None]
        for _ in range(self.iterations):
            product = kernel @ inverse
            inner = 7 * identity - product
            inverse = inverse @ (13 * identity - product @ (15 * identity - product @ inner)) / 4
        return inverse

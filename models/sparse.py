"""The same layers three ways: dense, with a tenth of the weights (unstructured), and as products of two thin matrices.

Each function is a factory: it returns the module and what makes its inputs. All have the layers of an encoder's
feedforward part and no attention, so that nothing but the products differs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

WIDTH, INNER, LAYERS = 768, 3072, 4
DENSITY = 0.1
RANK = 64

Made = tuple[nn.Module, Callable[[int, int], tuple[Tensor, ...]]]


class SparseLinear(nn.Module):
    """A linear layer without bias that stores and multiplies only the weights that are not zero (CSR)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        kept = round(DENSITY * inside * outside)
        weight = torch.zeros(inside * outside)
        weight[torch.randperm(inside * outside)[:kept]] = torch.randn(kept) / inside**0.5
        self.weight = nn.Parameter(weight.view(outside, inside).to_sparse_csr(), requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        flat = tokens.reshape(-1, tokens.shape[-1])
        product: Tensor = (self.weight @ flat.t()).t()
        return product.reshape(*tokens.shape[:-1], -1)


def _dense(inside: int, outside: int) -> nn.Module:
    return nn.Linear(inside, outside, bias=False)


def _factorised(inside: int, outside: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inside, RANK, bias=False), nn.Linear(RANK, outside, bias=False))


def _made(linear: Callable[[int, int], nn.Module]) -> Made:
    layers = [part for _ in range(LAYERS) for part in (linear(WIDTH, INNER), nn.GELU(), linear(INNER, WIDTH))]
    return nn.Sequential(*layers), lambda length, batch: (torch.randn(batch, length, WIDTH),)


def dense() -> Made:
    """All weights."""
    return _made(_dense)


def unstructured() -> Made:
    """A tenth of the weights, anywhere (Han et al., NeurIPS 2015)."""
    return _made(SparseLinear)


def factorised() -> Made:
    """Every matrix as the product of two of rank 64 (Sainath et al., ICASSP 2013)."""
    return _made(_factorised)

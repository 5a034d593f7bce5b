"""What the tests of the zoo share: a mechanism in float64, plain masked attention, and how the two agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.mechanisms import mechanism

HEADS, DIM = 4, 8


def config(name: str = "dense", causal: bool = False, longest: int = 64, **changed: Any) -> ZooConfig:
    shape = {
        "hidden_size": HEADS * DIM,
        "num_attention_heads": HEADS,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "vocab_size": 50,
        "dropout": 0.0,
    }
    chosen = mechanism(name)
    return ZooConfig(
        attention=name,
        options=chosen.options_of("tiny"),
        causal=causal,
        max_position_embeddings=longest,
        **{**shape, **changed},
    )


def part_class(name: str) -> Any:
    module, _, cls = mechanism(name).where.partition(":")
    return getattr(import_module(module), cls)


def attention(name: str, causal: bool = False, longest: int = 64, layer: int = 0, **options: float) -> Any:
    """The mechanism's attention in float64, with its tiny options but for those given."""
    torch.manual_seed(0)
    settings = config(name, causal, longest)
    made = part_class(name)(settings, layer, **{**settings.options, **options})
    return randomised(made).double().eval()


def randomised(module: nn.Module) -> nn.Module:
    """Parameters that are drawn wide enough that no term of an equation hides in rounding."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module


def states(length: int, batch: int = 2, heads: int = HEADS, count: int = 3) -> list[Tensor]:
    """Queries, keys and values, (batch, heads, length, DIM)."""
    generator = torch.Generator().manual_seed(length)
    return [
        torch.randn(batch, heads, length, DIM, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(count)
    ]


def hidden(length: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, HEADS * DIM, generator=generator, dtype=torch.float64)


def masked_softmax(scores: Tensor, seen: Tensor) -> Tensor:
    """Softmax over what is seen; zeros where that is nothing."""
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return weights.nan_to_num(0.0)


def masked(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Dense attention under a mask: the definition that every pattern is tied to."""
    return masked_softmax(query @ key.mT / query.shape[-1] ** 0.5, seen) @ value


def everything(length: int, causal: bool = False) -> Tensor:
    seen = torch.ones(length, length, dtype=torch.bool)
    return seen.tril() if causal else seen


def same(ours: Tensor, theirs: Tensor, inputs: Sequence[Tensor] = ()) -> None:
    """The same values and, with respect to `inputs`, the same gradients."""
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
    if not inputs:
        return
    weight = torch.linspace(-1, 1, ours.numel(), dtype=ours.dtype).view(ours.shape)
    gradients = (
        torch.autograd.grad((each * weight).sum(), inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
        for each in (ours, theirs)
    )
    for mine, reference in zip(*gradients, strict=True):
        assert reference.abs().max() > 0
        torch.testing.assert_close(mine, reference, atol=1e-9, rtol=1e-9)


Visible = Callable[[Tensor, Tensor], Tensor]


def matrix(visible: Visible, length: int) -> Tensor:
    """What query i sees of key j, (length, length), from a condition on i and j."""
    places = torch.arange(length)
    return visible(places[:, None], places[None, :])

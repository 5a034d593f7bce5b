"""Required attention span: how far a trained model's attention reaches (Tay et al., "Long Range Arena", ICLR 2021,
section 2.3): the mean distance of a query from the tokens that it looks at, weighted by its attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyprof.errors import UsageError
from pyprof.models.zoo.dense import Dense
from pyprof.models.zoo.parts import Attention
from pyprof.statistics.estimate import Estimate
from pyprof.statistics.mean import estimate_mean

# How far a query's weights may be from a sum of one, and still be a mean over tokens.
_SUM = 1e-3
# Keys whose weights are held at a time, for all queries.
_WIDEST = 1024


@dataclass(frozen=True)
class Span:
    """The mean distance that attention reaches, in tokens: of each layer's heads, of the layers, and over all of them.

    The intervals are those of the mean over examples. `length` is the mean length of an example, and `uniform` the
    distance that attention would reach which looks at all tokens alike (of what a causal model sees, where it is one).
    """

    mean: Estimate
    layers: tuple[Estimate, ...]
    heads: tuple[tuple[Estimate, ...], ...]
    examples: int
    length: float
    uniform: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object of all fields."""
        return asdict(self)


def mean_distance(weights: Tensor, lengths: Tensor | None = None) -> Tensor:
    """How far each head looks, in tokens: the mean over queries of the sum over keys of weight times distance.

    Args:
        weights: (batch, heads, queries, keys) that sum to one over the keys. Where there are more keys than queries,
            as with a memory, both end at the same position.
        lengths: (batch,) tokens of each example where it is padded on the right; queries behind them do not count.

    Returns:
        (batch, heads) in float64. Queries without weights (of a token that no cluster takes, say) are left out.

    Raises:
        UsageError: weights that do not sum to one, so that they are no mean over tokens.
    """
    batch, _, queries, keys = weights.shape
    rows = torch.arange(keys - queries, keys, device=weights.device)
    distances = (rows[:, None] - torch.arange(keys, device=weights.device)).abs()
    moments = torch.stack((weights.double().sum(-1), (weights.double() * distances).sum(-1)), dim=-1)
    return _over_queries(moments, lengths if lengths is not None else torch.full((batch,), queries))


def _over_queries(moments: Tensor, lengths: Tensor) -> Tensor:
    """(batch, heads) from (batch, heads, queries, 2): the sums of the weights, and of weight times distance."""
    there = torch.arange(moments.shape[2], device=moments.device) < lengths.to(moments.device)[:, None]
    sums, far = moments.unbind(-1)
    seen = there[:, None] & (sums != 0)
    wrong = seen & ((sums - 1).abs() > _SUM)
    if bool(wrong.any()):
        raise UsageError("the attention's weights do not sum to one, so that there is no mean distance: choose another")
    return torch.where(seen, far, 0.0).sum(-1) / seen.sum(-1).clamp(min=1)


def uniform_distance(length: int, causal: bool = False) -> float:
    """The mean distance of attention that looks at all tokens alike: (n^2 - 1) / 3n, in a causal one (n - 1) / 4."""
    return (length - 1) / 4 if causal else (length**2 - 1) / (3 * length)


def spans(module: nn.Module, run: Callable[[], Any], lengths: Tensor | None = None) -> Tensor:
    """How far each head of a model looks in one forward pass that `run` does, (layers, batch, heads) in tokens.

    `module` holds attention of the zoo, or is a transformers model with eager attention. Layers count in the order in
    which they run; one that runs several times counts each time. Raises UsageError where no attention weights can be
    read.
    """
    found: list[Tensor] = []
    with _watched(module, found, lengths), torch.no_grad():
        run()
    if not found:
        raise UsageError(
            f"{type(module).__name__} shows no attention weights: take the vanilla model, in plain operations (eager)"
        )
    return torch.stack(found)


def span_over(distances: Sequence[Tensor], lengths: Sequence[int], *, causal: bool = False) -> Span:
    """A span from what `spans` gave for each batch, and the lengths of all examples."""
    every = torch.cat([each.double().cpu() for each in distances], dim=1)
    over_heads, over_all = every.mean(dim=2), every.mean(dim=(0, 2))
    return Span(
        estimate_mean(over_all.numpy()),
        tuple(estimate_mean(layer.numpy()) for layer in over_heads),
        tuple(tuple(estimate_mean(head.numpy()) for head in layer.T) for layer in every),
        len(over_all),
        sum(lengths) / len(lengths),
        sum(uniform_distance(length, causal) for length in lengths) / len(lengths),
    )


@contextmanager
def _watched(module: nn.Module, found: list[Tensor], lengths: Tensor | None) -> Iterator[None]:
    parts = [part for part in module.modules() if isinstance(part, Attention)]
    with ExitStack() as hooks:
        for part in parts:
            hook = part.register_forward_pre_hook(
                lambda attention, args, kwargs: found.append(_of_zoo(attention, *args, **kwargs)), with_kwargs=True
            )
            hooks.callback(hook.remove)
        if not parts:
            hooks.enter_context(_weights_of_transformers(module, found, lengths))
        yield


@torch.no_grad()
def _of_zoo(attention: Attention, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
    """(batch, heads), from what the mechanism makes of values that are one for one token and zero for the others."""
    if type(attention).attend is Attention.attend or type(attention).forward is not Attention.forward:
        raise UsageError(f"{type(attention).__name__} mixes what it looks at, so that it has no attention weights")
    query, key = (attention.split(project(hidden)) for project in (attention.query, attention.key))
    length = hidden.shape[1]
    tokens = torch.arange(length, device=hidden.device)
    # A kernel may want values as wide as the keys; elsewhere fewer and wider pieces take less time.
    width = min(length, _WIDEST) if isinstance(attention, Dense) else attention.head_dim
    moments = torch.zeros(*query.shape[:3], 2, dtype=torch.float64, device=hidden.device)
    for first in range(0, length, width):
        columns = torch.arange(first, first + width, device=hidden.device)
        value = (tokens[:, None] == columns).to(key.dtype).expand(*key.shape[:2], -1, -1).contiguous()
        weights = attention.attend(query, key, value, mask).double()
        distances = (tokens[:, None] - columns).abs()
        moments += torch.stack((weights.sum(-1), (weights * distances).sum(-1)), dim=-1)
    lengths = torch.full((len(hidden),), length) if mask is None else mask.sum(-1)
    return _over_queries(moments, lengths)


@contextmanager
def _weights_of_transformers(module: nn.Module, found: list[Tensor], lengths: Tensor | None) -> Iterator[None]:
    """Ask a transformers model within the module for its attention weights."""
    model = next(
        (each for each in module.modules() if hasattr(getattr(each, "config", None), "output_attentions")), None
    )
    if model is None:
        yield
        return
    if getattr(model.config, "_attn_implementation", None) != "eager":
        raise UsageError("only eager attention shows its weights: give --attention eager")

    def told(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        return args, {**kwargs, "output_attentions": True}

    def kept(_: nn.Module, args: Any, output: Any) -> None:
        for weights in getattr(output, "attentions", None) or ():
            if weights.dim() != 4 or weights.shape[2] != weights.shape[3]:
                raise UsageError(
                    f"{type(model).__name__} has no weights for each pair of tokens: take the vanilla model"
                )
            found.append(mean_distance(weights, lengths))

    hooks = (model.register_forward_pre_hook(told, with_kwargs=True), model.register_forward_hook(kept))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""Problems on which Hopper's kernels have to be right, and the same every time, before anything relies on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyprof.ops.window_attention import window_attention

DTYPES = (torch.bfloat16, torch.float16)
# Bits of runs are compared, since a sum that blocks add up without order is right within rounding, mostly.
RUNS = 20


@dataclass(frozen=True)
class Case:
    """A problem whose result is checked: (left, right), (batch, heads, key heads, length, head_dim), key lengths."""

    window: tuple[int, int]
    sizes: tuple[int, int, int, int, int]
    lengths: tuple[int, ...] | None = None


# They fill no tile, share keys, have key lengths, one side, no side, or more than the sequence; the second of each
# head_dim has more blocks of keys than a card has multiprocessors, so that blocks take one after another.
CASES = tuple(
    Case(window, (batch, heads, key_heads, length, head_dim), lengths)
    for head_dim in (64, 128)
    for window, batch, heads, key_heads, length, lengths in (
        ((16, 16), 1, 3, 3, 333, None),
        ((100, 90), 16, 8, 8, 200, None),
        ((0, 0), 1, 2, 2, 65, None),
        ((30, 9), 2, 4, 4, 200, (200, 61)),
        ((16, 16), 2, 6, 2, 150, (150, 61)),
        ((128, 0), 1, 4, 2, 1000, None),
        ((1000, 1000), 2, 2, 1, 200, (0, 199)),
        ((200, 201), 2, 4, 2, 1500, (1500, 733)),
        ((900, 900), 1, 3, 3, 2100, None),
    )
)


@dataclass(frozen=True)
class Found:
    """The largest error as a share of what is allowed, and how many further runs gave other bits than the first."""

    error: float
    others: int

    @property
    def right(self) -> bool:
        """Whether the error is allowed and all bits are the same."""
        return self.error <= 1.0 and self.others == 0  # an error of NaN is not


def check(case: Case, dtype: torch.dtype, device: str, runs: int = RUNS) -> Found:
    """Output and gradients of a case against dense attention in float64.

    Twice the error of dense attention in the same type is allowed, and one rounding of the largest result.
    """
    tensors = _drawn(case.sizes, dtype, device)
    lengths = None if case.lengths is None else torch.tensor(case.lengths, device=device)

    def ours() -> list[Tensor]:
        return _with_gradients(lambda q, k, v: window_attention(q, k, v, case.window, lengths), tensors)

    exact = _with_gradients(lambda q, k, v: _dense(q, k, v, case), [tensor.double() for tensor in tensors])
    eager = _with_gradients(lambda q, k, v: _dense(q, k, v, case), tensors)
    first = ours()
    largest = max(float(each.abs().max()) for each in exact)
    shares = []
    for mine, plain, right in zip(first, eager, exact, strict=True):
        allowed = 2 * (plain - right).abs().max() + torch.finfo(dtype).eps * (right.abs().max() or largest)
        shares.append((mine - right).abs().max() / allowed)
    others = sum(not all(map(torch.equal, ours(), first)) for _ in range(runs))
    return Found(float(torch.stack(shares).max()), others)


def _drawn(sizes: Sequence[int], dtype: torch.dtype, device: str) -> list[Tensor]:
    """Query, key, value and the gradient of the output, in the layout of a model's projections."""
    batch, heads, key_heads, length, head_dim = sizes
    random = torch.Generator().manual_seed(length + head_dim)

    def normal(count: int) -> Tensor:
        return torch.randn(batch, length, count, head_dim, generator=random).to(device, dtype).transpose(1, 2)

    return [normal(heads), normal(key_heads), normal(key_heads), normal(heads)]


def _dense(query: Tensor, key: Tensor, value: Tensor, case: Case) -> Tensor:
    """Dense attention under a mask, in the tensors' own type."""
    heads, length = query.shape[1:3]
    key, value = (tensor.repeat_interleave(heads // tensor.shape[1], dim=1) for tensor in (key, value))
    place = torch.arange(length, device=query.device)
    distance = place[None, :] - place[:, None]
    seen = ((distance >= -case.window[0]) & (distance <= case.window[1])).expand(query.shape[0], 1, length, length)
    if case.lengths is not None:
        seen = seen & (place < torch.tensor(case.lengths, device=query.device)[:, None, None, None])
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
    return torch.where(seen, scores.softmax(-1), 0.0) @ value


def _with_gradients(attend: Callable[[Tensor, Tensor, Tensor], Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The output, and the gradients of query, key and value."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors[:3]]
    output = attend(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, tensors[3])]

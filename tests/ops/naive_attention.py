"""The definition of window attention, written down once more, and how far an implementation is from it."""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from pyprof.ops.window_attention import window_attention


@dataclasses.dataclass(frozen=True)
class Problem:
    """One set of arguments, and the tensors that belong to it."""

    window: tuple[int, int]
    batch: int = 1
    heads: int = 2
    key_heads: int = 2
    length: int = 20
    head_dim: int = 8
    key_lengths: tuple[int, ...] | None = None
    global_keys: int = 0

    def tensors(self, dtype: torch.dtype = torch.float32, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, always the same ones; queries are `spread` times as large, and with them the scores."""
        generator = torch.Generator().manual_seed(self.length * 1000 + self.heads * 10 + self.batch)

        def made(heads: int) -> Tensor:
            return torch.randn(self.batch, heads, self.length, self.head_dim, generator=generator, dtype=torch.float64)

        query, key, value = made(self.heads) * spread, made(self.key_heads), made(self.key_heads)
        return query.to(dtype), key.to(dtype), value.to(dtype)

    def lengths(self) -> Tensor | None:
        return None if self.key_lengths is None else torch.tensor(self.key_lengths)


@functools.cache
def visible(problem: Problem) -> Tensor:
    """(batch, 1, length, length), by a question for every pair."""
    left, right = problem.window
    keys = problem.key_lengths or (problem.length,) * problem.batch
    every, first = range(problem.length), problem.global_keys

    def sees(i: int, j: int) -> bool:
        return i - left <= j <= i + right or j < min(first, i - left)

    seen = [[[sees(i, j) and j < keys[b] for j in every] for i in every] for b in range(len(keys))]
    return torch.tensor(seen, dtype=torch.bool).view(problem.batch, 1, problem.length, problem.length)


def naive_attention(
    query: Tensor, key: Tensor, value: Tensor, seen: Tensor, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Dense attention in the tensors' own type under a mask: (output, log-sum-exp), for gradients too."""
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    scores = (query @ key.transpose(-1, -2)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(dim=-1).masked_fill(~seen, 0.0)
    return weights @ value, scores.masked_fill(~seen, float("-inf")).logsumexp(dim=-1)


def with_gradients(function, tensors: tuple[Tensor, ...], seed: int = 5) -> tuple[Tensor, ...]:
    """The output, and the gradients of a random weighting of it."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    output = function(*leaves)
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.device, output.dtype)
    return (output.detach(), *torch.autograd.grad(output, leaves, upstream))


Errors = list[tuple[float, float]]
NAMES = ("output", "grad_query", "grad_key", "grad_value")


def errors(results: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> Errors:
    """For every tensor its largest and its root mean square error."""
    differences = [ours.cpu().double() - theirs for ours, theirs in zip(results, exact, strict=True)]
    return [(float(one.abs().max()), float(one.square().mean().sqrt())) for one in differences]


def compare(
    problem: Problem,
    dtype: torch.dtype,
    spread: float,
    impl: str,
    window: tuple[int, int] | None = None,
    device: str = "cpu",
) -> tuple[Errors, Errors]:
    """Errors of an implementation that is told `window`, and of plain code in the same type, against float64.

    On a GPU, which sums in another order, half of a rounding of the largest result is added to those of plain code.
    """
    tensors, seen = problem.tensors(dtype, spread), visible(problem)
    exact = with_gradients(
        lambda q, k, v: naive_attention(q, k, v, seen)[0], tuple(tensor.double() for tensor in tensors)
    )
    eager = with_gradients(lambda q, k, v: naive_attention(q, k, v, seen)[0], tensors)
    told = window or problem.window
    lengths = None if problem.key_lengths is None else torch.tensor(problem.key_lengths, device=device)
    ours = with_gradients(
        lambda q, k, v: window_attention(q, k, v, told, lengths, impl=impl, global_keys=problem.global_keys),
        tuple(tensor.to(device) for tensor in tensors),
    )
    budgets = errors(eager, exact)
    if device != "cpu":
        largest = max(float(tensor.abs().max()) for tensor in exact)
        halves = [torch.finfo(dtype).eps / 4 * (float(tensor.abs().max()) or largest) for tensor in exact]
        budgets = [(one + half, other + half) for (one, other), half in zip(budgets, halves, strict=True)]
    return errors(ours, exact), budgets


def check_errors(ours: Errors, eager: Errors) -> None:
    for name, mine, budget in zip(NAMES, ours, eager, strict=True):
        assert mine[0] <= 2 * budget[0], f"largest error of {name}: {mine[0]:.3g}, plain code {budget[0]:.3g}"
        assert mine[1] <= 2 * budget[1], f"typical error of {name}: {mine[1]:.3g}, plain code {budget[1]:.3g}"


PROBLEMS = [
    Problem((0, 0), heads=1, key_heads=1, length=1),
    Problem((0, 0), length=5),
    Problem((2, 1), length=7),
    Problem((1, 3), length=40, head_dim=16),
    Problem((16, 16), length=65, head_dim=64),
    Problem((5, 0), batch=2, heads=4, length=33, head_dim=16),
    Problem((0, 7), batch=2, heads=3, key_heads=1, length=40, head_dim=24),
    Problem((100, 100), length=20),
    Problem((10**18, 3), length=50, head_dim=40),
    Problem((8, 8), batch=3, heads=4, length=70, head_dim=16, key_lengths=(70, 1, 33)),
    Problem((3, 3), batch=3, length=30, key_lengths=(0, 7, 29)),
    Problem((4, 0), batch=2, length=24, key_lengths=(3, 24)),
    Problem((0, 4), batch=2, heads=4, key_heads=1, length=24, key_lengths=(2, 30)),
]

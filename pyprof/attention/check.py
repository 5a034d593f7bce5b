"""How far an implementation is off: against dense attention in float64, and beside what its own dtype costs eagerly.

The reference here shares no code with any implementation. It is dense attention by its definition, with the gradients
written out, over one block of queries at a time, so that long inputs need no L x L matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyprof.attention.problem import Inputs
from pyprof.errors import UsageError

# An implementation may be off by as much as the eager result of the same dtype, times this,
TOLERANCE = 2.0
# and is wrong, rather than less exact, where it is off by this times what is allowed.
_WRONG = 2.0
# Elements of a block's matrix of scores, over all heads: 32 MiB in float64.
_BLOCK_ELEMENTS = 2**22
_MOST_ROWS = 256
# The largest error among few elements is a matter of luck: that of eager is taken over about so many, in a few draws.
_ENOUGH = 2**16
_MOST_DRAWS = 4
GRADIENTS = ("grad_query", "grad_key", "grad_value")


@dataclass(frozen=True)
class Accuracy:
    """The largest error of any element against float64, where the same-dtype eager result has `eager`.

    `allowed` is the tolerance times `eager`, but never less than the error of rounding the exact result to the dtype.
    `tensor` is the one that is worst beside what it is allowed: output, grad_query, grad_key or grad_value.
    """

    tensor: str
    error: float
    eager: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.error <= self.allowed

    @property
    def wrong(self) -> bool:
        return self.error > _WRONG * self.allowed

    @property
    def times_eager(self) -> float | None:
        return self.error / self.eager if self.eager > 0 else None


@dataclass(frozen=True)
class Standard:
    """What results are compared with: exact ones, and per tensor how far eager and rounding alone are off."""

    exact: Mapping[str, Tensor]
    eager: Mapping[str, float]
    rounding: Mapping[str, float]

    @classmethod
    def of(cls, inputs: Inputs) -> Standard:
        dtype = inputs.problem.torch_dtype
        exact = dense(inputs, torch.float64)
        eager = {name: _distance(tensor, exact[name]) for name, tensor in dense(inputs, dtype).items()}
        for shift in range(1, min(_MOST_DRAWS, inputs.problem.head_dim, _ENOUGH // inputs.query.numel() + 1)):
            # As good as inputs of another seed, and like the given ones in every other way.
            shifted = replace(inputs, query=inputs.query.roll(shift, dims=-1))
            again = dense(shifted, torch.float64)
            for name, tensor in dense(shifted, dtype).items():
                eager[name] = max(eager[name], _distance(tensor, again[name]))
        rounding = {name: _distance(tensor.to(dtype), tensor) for name, tensor in exact.items()}
        return cls(exact, eager, rounding)

    def judge(self, results: Mapping[str, Tensor], tolerance: float = TOLERANCE) -> Accuracy:
        """The accuracy of the worst of these tensors; a NaN counts as infinitely far off.

        Raises UsageError for a tolerance that is not a finite number above zero, which would let anything pass.
        """
        check_tolerance(tolerance)
        accuracies = []
        for name, tensor in results.items():
            allowed = max(tolerance * self.eager[name], self.rounding[name])
            accuracies.append(Accuracy(name, _distance(tensor, self.exact[name]), self.eager[name], allowed))
        return max(accuracies, key=lambda each: each.error / each.allowed if each.allowed else each.error)


def check_tolerance(tolerance: float) -> None:
    """Raise UsageError unless a tolerance is a finite number above zero."""
    if not 0 < tolerance < math.inf:
        raise UsageError(f"the tolerance has to be a finite number above 0, not {tolerance}")


def dense(inputs: Inputs, dtype: torch.dtype) -> dict[str, Tensor]:
    """Output and gradients of dense attention in `dtype`, every step rounded to it, as eager PyTorch would.

    Sums over queries in the gradients of key and value are taken in float32 at least, like in one matrix product.
    """
    query, key, value, grad = (
        tensor.to(dtype) for tensor in (inputs.query, inputs.key, inputs.value, inputs.grad_output)
    )
    sums = dtype if dtype is torch.float64 else torch.float32
    output, grad_query = torch.zeros_like(query), torch.zeros_like(query)
    grad_key, grad_value = torch.zeros_like(key, dtype=sums), torch.zeros_like(value, dtype=sums)
    for rows, keys, hidden in _blocks(inputs):
        near = key[:, :, keys]
        scores = (query[:, :, rows] @ near.transpose(-1, -2)) * inputs.given_scale
        weights = scores.masked_fill(hidden, torch.finfo(dtype).min).softmax(-1).masked_fill(hidden, 0.0)
        output[:, :, rows] = weights @ value[:, :, keys]
        grad_weights = grad[:, :, rows] @ value[:, :, keys].transpose(-1, -2)
        # Softmax's own backward keeps its products and their sum over keys as wide as this.
        wide = weights.to(sums)
        product = wide * grad_weights
        grad_scores = (product - wide * product.sum(-1, keepdim=True)).to(dtype) * inputs.given_scale
        grad_query[:, :, rows] = grad_scores @ near
        grad_key[:, :, keys] += grad_scores.to(sums).transpose(-1, -2) @ query[:, :, rows].to(sums)
        grad_value[:, :, keys] += wide.transpose(-1, -2) @ grad[:, :, rows].to(sums)
    return {
        "output": output,
        "grad_query": grad_query,
        "grad_key": grad_key.to(dtype),
        "grad_value": grad_value.to(dtype),
    }


def _blocks(inputs: Inputs) -> Iterator[tuple[slice, slice | Tensor, Tensor]]:
    """Blocks of queries, the keys that any of them may see, and which pairs are hidden, (B or 1, 1, rows, keys)."""
    problem = inputs.problem
    left, right = (min(side, problem.length) for side in problem.window)
    leading = min(problem.global_keys, problem.length)
    sequences = problem.batch * problem.heads
    rows = _MOST_ROWS
    while rows > 16 and sequences * rows * (rows + left + right + leading) > _BLOCK_ELEMENTS:
        rows //= 2
    positions = torch.arange(problem.length, device=inputs.query.device)
    for begin in range(0, problem.length, rows):
        end = min(begin + rows, problem.length)
        window = slice(max(0, begin - left), min(problem.length, end + right))
        queries, near = positions[begin:end, None], positions[window]
        keys: slice | Tensor = window
        if leading:
            keys = near = torch.cat((positions[: min(leading, window.start)], near))
        before = (near < queries - left) & (near >= leading)
        hidden = (before | (near > queries + right))[None, None]
        if inputs.key_lengths is not None:
            hidden = hidden | (near >= inputs.key_lengths[:, None, None, None])
        yield slice(begin, end), keys, hidden


def _distance(tensor: Tensor, exact: Tensor) -> float:
    difference = (tensor.to(torch.float64) - exact).abs().max().item()
    return difference if difference == difference else float("inf")

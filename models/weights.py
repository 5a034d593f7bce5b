"""Random weights in a fraction of the time that the usual initialisation takes.

Drawing 110 million numbers twice (once by PyTorch's layers, once by transformers) takes about two seconds on a slow
core. Here nothing is drawn while a model is built; what would have been is then filled with pieces of one short pool
of normal numbers. Everything deterministic (ones, zeros, position indices and all other buffers) is computed as
usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

_POOL = 1 << 22
_STANDARD_DEVIATION = 0.02
# PyTorch lets a mode override these functions of torch.nn.init as a whole, so that no code reads numbers that were not
# drawn. Anything else (a truncated normal distribution, which draws until all numbers fit) is rare and small, and is
# drawn for real. They are recognised by name, because transformers puts its own in their place while it initialises.
_DRAW = frozenset({"normal_", "uniform_", "kaiming_uniform_"})
_SET = frozenset({"zero_", "fill_", "constant_", "copy_"})


class _DeferredRandom(TorchFunctionMode):
    """Skips the random draws of torch.nn.init and remembers which tensors they would have filled last."""

    def __init__(self) -> None:
        super().__init__()
        # The tensors are held, so that no later one can take over an id.
        self.pending: dict[int, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _DRAW and isinstance(func, FunctionType):
            tensor = args[0] if args else kwargs["tensor"]
            self.pending[id(tensor)] = tensor
            return tensor
        if name in _SET:
            self.pending.pop(id(args[0] if args else kwargs["tensor"]), None)
        return func(*args, **kwargs)


@contextmanager
def deferred_random() -> Iterator[dict[int, Tensor]]:
    """Build modules without drawing random numbers; yields the tensors that `fill` has to fill, by id."""
    with _DeferredRandom() as mode:
        yield mode.pending


def fill(module: nn.Module, pending: Mapping[int, Tensor], seed: int) -> None:
    """Fill what was deferred: convolutions after He et al. (2015), all else with a standard deviation of 0.02.

    Reparametrised weights (weight normalisation) are set through their parametrisation, rows of padding stay zero.
    """
    pool = _Pool(min(_POOL, sum(parameter.numel() for parameter in module.parameters())), seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, parametrize.ParametrizationList):
                continue
            if parametrize.is_parametrized(layer):
                for name in layer.parametrizations:  # type: ignore[union-attr]
                    _fill_parametrized(layer, str(name), pool)
            for parameter in layer.parameters(recurse=False):
                if id(parameter) in pending:
                    pool.fill(parameter, _deviation(layer, parameter))
            if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
                layer.weight[layer.padding_idx].zero_()


def _fill_parametrized(layer: nn.Module, name: str, pool: _Pool) -> None:
    weight = torch.empty_like(getattr(layer, name))
    pool.fill(weight, _deviation(layer, weight))
    setattr(layer, name, weight)


def _deviation(layer: nn.Module, weight: Tensor) -> float:
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and weight.dim() > 1:
        return float((2.0 / weight[0].numel()) ** 0.5)
    return _STANDARD_DEVIATION


class _Pool:
    """A seeded stock of standard normal numbers, handed out round and round."""

    def __init__(self, size: int, seed: int) -> None:
        self._numbers = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        self._next = 0

    def fill(self, tensor: Tensor, deviation: float) -> None:
        """Write numbers of that standard deviation into a contiguous tensor."""
        flat = tensor.view(-1)
        done = 0
        while done < flat.numel():
            count = min(flat.numel() - done, len(self._numbers) - self._next)
            torch.mul(self._numbers[self._next : self._next + count], deviation, out=flat[done : done + count])
            done += count
            self._next = (self._next + count) % len(self._numbers)

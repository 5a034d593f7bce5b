"""A model whose layers take a known time: each spins for as long as it is given, and notes how long it really took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pyprof import _native
from pyprof.overhead.tool import LayerTime

_now = time.perf_counter_ns
# Backward takes twice as long as forward, as in most models.
_BACKWARD = 2


class _Spin(torch.autograd.Function):
    """Spins natively in forward and in backward; PyTorch's profilers see it as an operator."""

    @staticmethod
    def forward(context: Any, value: Tensor, leaf: Leaf, begin: int) -> Tensor:
        context.leaf = leaf
        _native.spin(max(leaf.nanoseconds - (_now() - begin), 0))
        return value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        begin = _now()
        leaf: Leaf = context.leaf
        _native.spin(max(_BACKWARD * leaf.nanoseconds - (_now() - begin), 0))
        leaf.backwards.append((begin, _now()))
        return gradients[0], None, None


class _End(torch.autograd.Function):
    """Runs before all layers in forward, and so after them in backward: notes when the last one was done."""

    @staticmethod
    def forward(context: Any, value: Tensor, steps: KnownSteps) -> Tensor:
        context.steps = steps
        return value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        context.steps.end_ns = _now()
        return gradients[0], None


class _Stamped(nn.Module):
    """Notes how long each of its calls took, from the first to the last thing that its forward does.

    `lengths` are nanoseconds, one for each call; `backwards` the begin and the end of each spin in backward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []
        self.backwards: list[tuple[int, int]] = []


class Leaf(_Stamped):
    """Takes the given time, and twice that in backward."""

    def __init__(self, nanoseconds: int) -> None:
        super().__init__()
        self.nanoseconds = nanoseconds

    def forward(self, value: Tensor) -> Tensor:
        begin = _now()
        value = _Spin.apply(value, self, begin)  # type: ignore[no-untyped-call]
        self.lengths.append(_now() - begin)
        return value


class Container(_Stamped):
    """Calls its layers one after the other and does nothing else."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._order = tuple(layers.values())

    def forward(self, value: Tensor) -> Tensor:
        begin = _now()
        for layer in self._order:
            value = layer(value)
        self.lengths.append(_now() - begin)
        return value


class KnownModel(_Stamped):
    """Layers of 20 us to 5 ms: an embedding, a row of equal blocks, a layer that is called twice, and a head."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.embedding = Leaf(50_000)
        self.blocks = nn.ModuleList(_block() for _ in range(blocks))
        self.shared = Leaf(200_000)
        self.head = Leaf(5_000_000)

    def forward(self, value: Tensor) -> Tensor:
        begin = _now()
        value = self.embedding(value)
        for block in self.blocks:
            value = block(value)
        value = self.head(self.shared(self.shared(value)))
        self.lengths.append(_now() - begin)
        return value


def _block() -> Container:
    attention = Container(query=Leaf(20_000), key=Leaf(20_000), output=Leaf(100_000))
    return Container(attention=attention, feedforward=Leaf(1_000_000))


class KnownSteps:
    """Steps of a known model, one after the other, and what its layers really took in the last of them."""

    def __init__(self, model: KnownModel, *, backward: bool) -> None:
        self.model = model
        self._backward = backward
        self._layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, _Stamped)}
        self._value = torch.zeros(1, requires_grad=backward)
        self.end_ns = 0

    def step(self) -> None:
        """Run one step; forgets the one before."""
        for layer in self._layers.values():
            layer.lengths.clear()
            layer.backwards.clear()
        self._value.grad = None
        if not self._backward:
            with torch.inference_mode():
                self.model(self._value)
            return
        value = _End.apply(self._value, self)  # type: ignore[no-untyped-call]
        self.model(value).backward()

    @property
    def calls(self) -> int:
        """Calls of layers in the last step."""
        return sum(len(layer.lengths) for layer in self._layers.values())

    @property
    def containers(self) -> tuple[str, ...]:
        """The paths of the layers that have no time of their own."""
        return tuple(path for path, layer in self._layers.items() if not isinstance(layer, Leaf))

    def known(self) -> Mapping[str, LayerTime]:
        """The known times of the last step, in nanoseconds: what the leaves in each layer, or it itself, have noted."""
        times = {}
        for path, layer in self._layers.items():
            forward = sum(sum(leaf.lengths) for leaf in self._leaves(path))
            own = forward if isinstance(layer, Leaf) else 0
            backward = sum(end - begin for leaf in self._leaves(path) for begin, end in leaf.backwards)
            times[path] = LayerTime(float(forward), float(own), float(backward) if self._backward else None)
        return times

    def stamped(self) -> Mapping[str, LayerTime]:
        """What the layers took in the last step by their own clocks, which is the truth without a profiler.

        It exceeds the known times by what Python and PyTorch need to call a layer. A layer's backward lasts until the
        next one's begins; what comes before the first one belongs to no layer.
        """
        begins = sorted(begin for leaf in self._leaves("") for begin, _ in leaf.backwards)
        following = dict(pairwise([*begins, self.end_ns]))
        times = {}
        for path, layer in self._layers.items():
            took = float(sum(layer.lengths))
            own = took - sum(sum(inner.lengths) for inner in self._children(path))
            backward = sum(following[begin] - begin for leaf in self._leaves(path) for begin, _ in leaf.backwards)
            times[path] = LayerTime(took, own, float(backward) if self._backward else None)
        return times

    def _leaves(self, path: str) -> Iterator[Leaf]:
        for inner, layer in self._layers.items():
            if isinstance(layer, Leaf) and (inner == path or not path or inner.startswith(f"{path}.")):
                yield layer

    def _children(self, path: str) -> Iterator[_Stamped]:
        """The layers right below one; a ModuleList between them does not count."""
        prefix = f"{path}." if path else ""
        for inner, layer in self._layers.items():
            if inner and inner.startswith(prefix) and inner != path:
                above = inner.rpartition(".")[0]
                while above not in self._layers:
                    above = above.rpartition(".")[0]
                if above == path:
                    yield layer

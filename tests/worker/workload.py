"""Factories of tiny models that behave and misbehave, for the process that measures."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

WIDTH = 8
Made = tuple[nn.Module, Callable[[int, int], dict[str, Any]]]


def make_inputs(length: int, batch: int, width: int = WIDTH) -> dict[str, Any]:
    return {"x": torch.ones(batch, length, width)}


class Model(nn.Module):
    """Two layers, and before them whatever `act` does to the input."""

    def __init__(self, act: Callable[[torch.Tensor], object], width: int = WIDTH) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.act(x)
        out: torch.Tensor = self.second(self.first(x))
        return out


def quiet() -> Made:
    return Model(lambda x: None), make_inputs


def wide() -> Made:
    return Model(lambda x: None, 32), lambda length, batch: make_inputs(length, batch, 32)


def alone() -> nn.Module:
    """It says nothing of its inputs."""
    return Model(lambda x: None)


def given(length: int, batch: int) -> tuple[torch.Tensor]:
    return (torch.ones(batch, length, WIDTH),)


class Cache:
    """What a decoder keeps of the steps before."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []


# How much the cache held at the end of each call of a caching model.
HELD: list[int] = []


class Caching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, cache: Cache | list[torch.Tensor]) -> torch.Tensor:
        kept = cache.kept if isinstance(cache, Cache) else cache
        kept.append(x)
        HELD.append(len(kept))
        out: torch.Tensor = self.layer(torch.cat(kept, dim=1))
        return out


def caching() -> Made:
    """Its inputs hold one and the same cache every time."""
    cache = Cache()
    return Caching(), lambda length, batch: {**make_inputs(length, batch), "cache": cache}


def listing() -> Made:
    return Caching(), lambda length, batch: {**make_inputs(length, batch), "cache": []}


class Uncopyable(Cache):
    def __deepcopy__(self, memo: object) -> Cache:
        raise TypeError("there is one of it")


def clinging() -> Made:
    return Caching(), lambda length, batch: {**make_inputs(length, batch), "cache": Uncopyable()}


def a_tensor(length: int, batch: int) -> torch.Tensor:
    return torch.ones(batch, length, WIDTH)


def for_a_length(length: int) -> tuple[torch.Tensor]:
    return given(length, 1)


def no_inputs(length: int, batch: int) -> dict[str, Any]:
    raise KeyError("nothing")


def noisy() -> Made:
    """It prints to standard output, which must not reach the replies."""
    print('{"record": "not one"}')
    return Model(lambda x: print("on standard output")), make_inputs


def sleepy() -> Made:
    return Model(lambda x: time.sleep(60)), make_inputs


def sluggish() -> Made:
    return Model(lambda x: time.sleep(1.5)), make_inputs


def hungry() -> Made:
    """It asks for 16 MiB for each token of each example."""
    return Model(lambda x: torch.empty(x.shape[0] * x.shape[1] * 2**24, dtype=torch.uint8)), make_inputs


def killed() -> Made:
    return Model(lambda x: os.kill(os.getpid(), signal.SIGKILL)), make_inputs


def raising() -> Made:
    def fail(x: torch.Tensor) -> None:
        raise ValueError("a first line\nand a second one")

    return Model(fail), make_inputs


def failing_to_build() -> Made:
    raise KeyError("weights")


def steady() -> Made:
    """Steps long enough for a run to be killed in the middle of one."""
    return Model(lambda x: time.sleep(0.03)), make_inputs


class Lazy(nn.Module):
    """One lazy layer, and one that no forward ever reaches, so that it stays without a size."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.LazyLinear(WIDTH)
        self.unused = nn.LazyLinear(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.used(x)
        return out


def uninitialised() -> Made:
    return Lazy(), make_inputs


class Sparse(nn.Module):
    """A sparse buffer, whose bytes cannot be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("table", torch.eye(WIDTH).to_sparse())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


def sparse() -> Made:
    return Sparse(), make_inputs


class Adaptive(nn.Module):
    """Its first forward builds its only layer."""

    def __init__(self) -> None:
        super().__init__()
        self.built: nn.Module | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.built is None:
            self.built = nn.Linear(x.shape[-1], 2 * WIDTH)
        out: torch.Tensor = self.built(x)
        return out


def adaptive() -> Made:
    return Adaptive(), make_inputs


class Energy(nn.Module):
    """The force is the gradient of an energy, which is taken inside the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (force,) = torch.autograd.grad(self.energy(at).sum(), at, create_graph=self.training)
        return force


def energy() -> Made:
    return Energy(), make_inputs


def leaving() -> Made:
    """The factory ends the program, and says that all is well."""
    sys.exit(0)


def leaving_late() -> Made:
    return Model(lambda x: sys.exit(0)), make_inputs


def asking() -> Made:
    """It asks a question on standard input, where the requests come from."""
    return Model(lambda x: input("go on? ")), make_inputs


def printing() -> Made:
    """It prints by all ways there are: Python's, the descriptor, a child process and C's buffered output."""
    print("from the factory")

    def shout(x: torch.Tensor) -> None:
        print("from the forward")
        print("past the redirection", file=sys.__stdout__)
        os.write(1, b"from the descriptor\n")
        ctypes.CDLL(None).puts(b"from C")

    subprocess.run(["echo", "from a child"], check=True)
    return Model(shout), make_inputs


def interrupting() -> Made:
    def interrupt(x: torch.Tensor) -> None:
        raise KeyboardInterrupt

    return Model(interrupt), make_inputs


def failing_in_backward() -> Made:
    class Fail(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
            raise ValueError("no way back\nat all")

    class Failing(Model):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = Fail.apply(super().forward(x))  # type: ignore[no-untyped-call]
            return out

    return Failing(lambda x: None), make_inputs


def failing_later() -> Made:
    """It raises at its fourth call."""
    calls: list[int] = []

    def count(x: torch.Tensor) -> None:
        calls.append(1)
        if len(calls) > 3:
            raise ValueError("enough")

    return Model(count), make_inputs


def compiled_inside() -> Made:
    """It calls a compiled function, which calls one of its layers."""

    class CompiledInside(Model):
        @torch.compile(backend="eager")
        def head(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.second(x)
            return out

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(x))

    return CompiledInside(lambda x: None), make_inputs

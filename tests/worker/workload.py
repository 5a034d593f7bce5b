"""Factories of tiny models that behave and misbehave, for the process that measures."""

from __future__ import annotations

import os
import signal
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

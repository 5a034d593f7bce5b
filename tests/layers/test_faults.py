"""Page faults by kind of layer: of the layer that asks for the memory, and of no other."""

from __future__ import annotations

import mmap
from typing import Any

import pytest
import torch
from torch import nn

from pyprof.layers.faults import faults_by_kind

PAGES = 500


class Touching(nn.Module):
    """Touches so many fresh pages, around the layers inside."""

    def __init__(self, pages: int, *inside: nn.Module) -> None:
        super().__init__()
        self.pages = pages
        self.inside = nn.ModuleList(inside)

    def forward(self, x: Any) -> Any:
        with mmap.mmap(-1, self.pages * mmap.PAGESIZE) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            memory[:: mmap.PAGESIZE] = bytes(self.pages)
        for layer in self.inside:
            x = layer(x)
        return x


RULES = (("inside.0", "self-attention"), ("inside.1", "feedforward"))


def test_faults_belong_to_the_innermost_layer() -> None:
    module = Touching(0 + PAGES, Touching(2 * PAGES), Touching(4 * PAGES))
    counts = faults_by_kind(module, lambda: module(torch.ones(1)), RULES)
    assert counts["other"] == pytest.approx(PAGES, abs=PAGES / 2)
    assert counts["self-attention"] == pytest.approx(2 * PAGES, abs=PAGES / 2)
    assert counts["feedforward"] == pytest.approx(4 * PAGES, abs=PAGES / 2)


def test_what_is_outside_of_the_forward_is_told_apart() -> None:
    module, beside = Touching(PAGES), Touching(3 * PAGES)

    def step() -> None:
        module(torch.ones(1))
        beside.forward(torch.ones(1))

    counts = faults_by_kind(module, step)
    assert counts["outside"] == pytest.approx(3 * PAGES, abs=PAGES / 2)


def test_the_module_is_left_as_it_was_after_an_exception() -> None:
    class Failing(nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("no")

    module = nn.Sequential(nn.Identity(), Failing())
    with pytest.raises(ValueError, match="no"):
        faults_by_kind(module, lambda: module(torch.ones(1)))
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())

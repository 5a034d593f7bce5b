"""`pyprof.profile`: steps of a module of the user's, which is afterwards what it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pyprof
from pyprof.errors import UsageError


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_training_flags_and_gradients_are_left_as_they_were(mode):
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(), nn.Linear(4, 4)))
    module.train()
    module[1].eval()  # a frozen part
    gradient = torch.full((4, 4), 3.0)
    module[0].weight.grad = gradient
    profile = pyprof.profile(module, torch.ones(2, 4), mode=mode, seconds=0.0)
    assert profile.steps == 1
    assert [layer.training for layer in module.modules()] == [True, True, False, False, False]
    assert module[0].weight.grad is gradient
    assert torch.equal(gradient, torch.full((4, 4), 3.0))
    assert module[1][1].weight.grad is None


def test_the_module_is_left_as_it_was_also_when_a_step_fails():
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout().eval())
    with pytest.raises(RuntimeError):
        pyprof.profile(module, torch.ones(2, 3), mode="train")
    assert [layer.training for layer in module.modules()] == [True, True, False]


def test_what_cannot_be_done_is_said():
    with pytest.raises(UsageError, match="choose infer or train"):
        pyprof.profile(nn.Identity(), 1, mode="inference")
    with pytest.raises(UsageError, match="mode='infer'"):
        pyprof.profile(nn.Identity(), torch.ones(2), mode="train")

"""`pyprof.profile`: steps of a module of the user's, which is afterwards what it was."""

from __future__ import annotations

from contextlib import nullcontext

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
    with pytest.raises(UsageError, match="choose infer, train, prefill or generate"):
        pyprof.profile(nn.Identity(), 1, mode="inference")
    with pytest.raises(UsageError, match="mode='infer'"):
        pyprof.profile(nn.Identity(), torch.ones(2), mode="train")


def test_only_modules_can_be_profiled():
    with pytest.raises(UsageError, match=r"only an nn\.Module"):
        pyprof.profile(lambda value: value, 1)


class Energy(nn.Module):
    """A force is the gradient of an energy, taken inside the forward; `way` is how the model sees to gradients."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.energy = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, positions):
        if self.way == "func":
            return torch.func.grad(lambda at: self.energy(at).sum())(positions)
        with torch.enable_grad() if self.way == "own" else nullcontext():
            positions = positions.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energy(positions).sum(), positions, create_graph=self.training)
        return -gradient


@pytest.mark.parametrize(
    ("way", "note"),
    [("own", "run under no_grad, since the forward fails"), ("recorded", "run with gradients recorded"), ("func", "")],
)
def test_a_gradient_taken_inside_the_forward_is_measured_and_said(way, note):
    module = Energy(way).eval()
    expected = module(torch.ones(5, 3))
    profile = pyprof.profile(module, torch.ones(5, 3), seconds=0.0)
    calls = {layer.path: layer.calls for layer in profile.layers}
    assert calls["energy.0"] == 1
    assert [said.startswith(note) for said in profile.notes] == [True] * bool(note)
    assert all("RuntimeError: " in said and "\n" not in said for said in profile.notes)
    assert profile.to_json()["notes"] == list(profile.notes)
    torch.testing.assert_close(module(torch.ones(5, 3)), expected)


def test_a_gradient_inside_the_forward_can_be_trained_through():
    profile = pyprof.profile(Energy("recorded"), torch.ones(5, 3), mode="train", seconds=0.0)
    assert profile.notes == ()
    assert {layer.path: layer.calls for layer in profile.layers}["energy"] == 1


def test_a_state_that_is_kept_from_call_to_call_can_be_inferred():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(3, 3)
            self.register_buffer("state", torch.zeros(2, 3))

        def forward(self, value):
            self.state = self.cell(value, self.state)
            return self.state

    module = Recurrent()
    assert pyprof.profile(module, torch.ones(2, 3), seconds=0.05).notes == ()
    assert torch.equal(module.state, torch.zeros(2, 3))
    module(torch.ones(2, 3)).sum().backward()  # nothing of what inference left behind is in its way


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_lazy_parameters_are_listed_with_their_sizes(mode):
    module = nn.Sequential(nn.LazyConv1d(4, 3), nn.LazyBatchNorm1d(), nn.Flatten(), nn.LazyLinear(2))
    profile = pyprof.profile(module, torch.randn(2, 5, 8), mode=mode, seconds=0.0)
    rows = [(layer.path, layer.type, layer.calls, layer.parameters) for layer in profile.layers]
    assert rows == [
        ("", "Sequential", 1, 0),
        ("0", "Conv1d", 1, 4 * 5 * 3 + 4),
        ("1", "BatchNorm1d", 1, 8),
        ("2", "Flatten", 1, 0),
        ("3", "Linear", 1, 24 * 2 + 2),
    ]
    assert (profile.layers[3].own_backward_seconds is not None) == (mode == "train")
    assert all(parameter.grad is None for parameter in module.parameters())
    assert int(module[1].num_batches_tracked) == 0
    assert torch.equal(module[1].running_mean, torch.zeros(4))
    module(torch.randn(2, 5, 8)).sum().backward()


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_modules_that_the_first_forward_builds_are_listed_with_their_sizes(mode):
    class Adaptive(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList()

        def forward(self, value):
            while len(self.blocks) < 2:
                self.blocks.append(nn.Linear(value.shape[-1], value.shape[-1]))
            for block in self.blocks:
                value = block(value)
            return value

    profile = pyprof.profile(Adaptive(), torch.ones(2, 6), mode=mode, seconds=0.0)
    rows = {layer.path: (layer.calls, layer.parameters) for layer in profile.layers}
    assert rows == {"": (1, 0), "blocks": (0, 0), "blocks.0": (1, 42), "blocks.1": (1, 42)}


def test_what_is_in_the_mode_already_keeps_the_modes_of_its_parts():
    seen = []

    class Noting(nn.Module):
        def forward(self, value):
            seen.append(self.training)
            return value

    module = nn.Sequential(nn.Linear(2, 2), Noting().eval())  # a frozen part of a model in training
    pyprof.profile(module, torch.ones(1, 2), mode="train", seconds=0.0)
    assert set(seen) == {False}
    seen.clear()
    module.eval()
    pyprof.profile(module, torch.ones(1, 2), mode="train", seconds=0.0)
    assert set(seen) == {True}

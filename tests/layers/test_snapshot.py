"""What the user gave is given back as it was: by `pyprof.profile`, whatever happens in it."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

import pyprof
from pyprof.layers.snapshot import given_back

MODES = pytest.mark.parametrize("mode", ["infer", "train"])


class Interrupting(nn.Module):
    """Raises what it is given, at its second call."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    def forward(self, value):
        self.calls += 1
        if self.calls > 1:
            raise self.error
        return value


def modes(module):
    return [layer.training for layer in module.modules()]


def contents(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@MODES
@pytest.mark.parametrize("root", [True, False])
def test_a_frozen_normalisation_keeps_its_mode_and_its_statistics(mode, root):
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm1d(4), nn.Dropout()))
    module.train(root)
    module[1].eval()
    module[2][1].train(not root)
    flags, state, alias = modes(module), contents(module), module[1].running_mean.view(2, 2)
    profile = pyprof.profile(module, torch.randn(8, 4), mode=mode, seconds=0.0)
    assert profile.steps == 1
    assert modes(module) == flags
    assert same(state, contents(module))
    assert alias.data_ptr() == module[1].running_mean.data_ptr()


def test_running_statistics_are_given_back_in_place_to_all_that_share_them():
    module = nn.BatchNorm1d(4)
    module.running_mean += 3.0
    alias, tensor = module.running_mean.view(2, 2), module.running_mean
    pyprof.profile(module, torch.randn(8, 4), mode="train", seconds=0.0)
    assert module.running_mean is tensor
    assert torch.equal(alias, torch.full((2, 2), 3.0))
    assert int(module.num_batches_tracked) == 0


def test_buffers_that_a_forward_binds_anew_swaps_or_resizes_are_the_old_ones():
    class Moving(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("bound", torch.zeros(2))
            self.register_buffer("swapped", torch.zeros(2))
            self.register_buffer("resized", torch.zeros(2))
            self.register_buffer("untouched", torch.zeros(2))
            self.plain = torch.zeros(2)
            self.listed = [torch.zeros(2)]

        def forward(self, value):
            self.bound = self.bound + value
            self.swapped.data = self.swapped.data + value
            self.resized.resize_(5).fill_(1.0)
            self.plain = self.plain + value
            self.listed[0].add_(value)
            return value

    module = Moving()
    held = {name: getattr(module, name) for name in ("bound", "swapped", "resized", "untouched", "plain")}
    places = {name: tensor.data_ptr() for name, tensor in held.items() if name != "resized"}
    version = module.untouched._version
    pyprof.profile(module, torch.ones(2), seconds=0.0)
    for name, tensor in held.items():
        assert getattr(module, name) is tensor
        assert torch.equal(tensor, torch.zeros(2)), name
        assert tensor.data_ptr() == places.get(name, tensor.data_ptr()), name
    assert torch.equal(module.listed[0], torch.zeros(2))
    # A graph of the user's that has saved it can still be gone through.
    assert module.untouched._version == version


@MODES
def test_the_random_state_is_given_back(mode):
    class Drawing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.generator = torch.Generator().manual_seed(3)

        def forward(self, value):
            noise = random.random() + np.random.rand() + torch.rand(4) + torch.rand(4, generator=self.generator)
            return nn.functional.dropout(self.layer(value + noise), training=True)

    module = Drawing()

    def draw():
        return (random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1, generator=module.generator))

    def seeded():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        module.generator.manual_seed(3)

    seeded()
    expected = draw()
    seeded()
    pyprof.profile(module, torch.ones(2, 4), mode=mode, seconds=0.0)
    assert draw() == expected


def test_gradients_of_inputs_are_what_they_were():
    value, other = torch.ones(2, 4, requires_grad=True), torch.ones(2, 4, requires_grad=True)
    value.grad = gradient = torch.full((2, 4), 5.0)

    class Two(nn.Module):
        def forward(self, value, *, more):
            return value * more["it"][0]

    pyprof.profile(Two(), value, more={"it": [other]}, mode="train", seconds=0.0)
    assert value.grad is gradient
    assert torch.equal(gradient, torch.full((2, 4), 5.0))
    assert other.grad is None


def test_a_graph_behind_an_input_is_not_gone_through():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    hidden = first(torch.ones(2, 4))
    profile = pyprof.profile(second, hidden, mode="train", seconds=0.05)
    assert profile.steps > 1
    assert first.weight.grad is None
    second(hidden).sum().backward()  # the graph is still there
    assert first.weight.grad is not None


def test_one_input_that_is_given_twice_stays_one():
    seen = set()

    class Same(nn.Module):
        def forward(self, query, key):
            seen.add(query is key)
            return query * key

    hidden = torch.ones(2, requires_grad=True) * 2
    pyprof.profile(Same(), hidden, hidden, mode="train", seconds=0.0)
    assert seen == {True}


@MODES
def test_inputs_that_a_forward_writes_to_are_what_they_were(mode):
    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, value):
            value.add_(1.0)
            return value.clone().mul_(self.scale) if mode == "train" else value.relu_()

    value = torch.full((2, 4), -9.0)
    pyprof.profile(Writing(), value, mode=mode, seconds=0.0)
    assert torch.equal(value, torch.full((2, 4), -9.0))
    hidden = nn.Linear(4, 4)(value)
    before = hidden.detach().clone()
    pyprof.profile(Writing(), hidden, mode=mode, seconds=0.0)
    assert torch.equal(hidden, before)


def test_what_requires_a_gradient_is_what_it_was():
    class Freezing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, value):
            value.requires_grad_()
            self.layer.bias.requires_grad_(False)
            return self.layer(value)

    module, value = Freezing(), torch.ones(2, 4)
    pyprof.profile(module, value, mode="train", seconds=0.0)
    assert (value.requires_grad, value.grad) == (False, None)
    assert module.layer.bias.requires_grad


@MODES
def test_modules_that_are_born_in_the_warm_up_stay_without_gradients_in_their_parents_mode(mode):
    class Building(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = None

        def forward(self, value):
            if self.inner is None:
                self.inner = nn.Sequential(nn.Linear(value.shape[-1], 3), nn.Dropout())
                self.register_buffer("seen", torch.zeros(3))
            return self.inner(value) + self.seen

    module = nn.ModuleList([Building(), nn.Identity()])
    module.train()
    module[0].eval()

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = module

        def forward(self, value):
            return self.inside[0](value)

    profile = pyprof.profile(Around(), torch.ones(2, 4), mode=mode, seconds=0.0)
    layers = {layer.path: layer for layer in profile.layers}
    assert layers["inside.0.inner.0"].calls == 1
    assert layers["inside.0.inner.0"].parameters == 15
    assert modes(module) == [True, False, False, False, False, True]
    assert all(parameter.grad is None for parameter in module.parameters())
    # They were not made under inference_mode: they can be trained.
    module[0](torch.ones(2, 4)).sum().backward()
    assert module[0].inner[0].weight.grad is not None


@pytest.mark.parametrize("error", [ValueError("planted"), KeyboardInterrupt(), SystemExit(0)])
@MODES
def test_everything_is_given_back_whatever_happens(mode, error):
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout().eval(), Interrupting(error))
    value = torch.ones(3, 4, requires_grad=True)
    module[0].weight.grad = gradient = torch.ones(4, 4)
    flags, state, drawn = modes(module), contents(module), torch.get_rng_state()
    with pytest.raises(type(error)):
        pyprof.profile(module, value, mode=mode, seconds=0.0)
    assert modes(module) == flags
    assert same(state, contents(module))
    assert module[0].weight.grad is gradient
    assert (module[0].bias.grad, value.grad) == (None, None)
    assert torch.equal(torch.get_rng_state(), drawn)
    copy.deepcopy(module)


def test_training_can_be_profiled_where_gradients_are_switched_off():
    module, value = nn.Linear(4, 4), torch.ones(2, 4)
    for given in (value, nn.Linear(4, 4)(value)):
        for off in (torch.no_grad, torch.inference_mode):
            with off():
                profile = pyprof.profile(module, given, mode="train", seconds=0.0)
            assert profile.layers[0].backward_seconds is not None
    assert torch.is_grad_enabled()


def test_a_module_made_under_inference_mode_is_given_back_too():
    with torch.inference_mode():
        module = nn.BatchNorm1d(4)
    module.train()
    with given_back(module), torch.inference_mode():
        module.running_mean += 1.0
    assert torch.equal(module.running_mean, torch.zeros(4))


def test_a_scripted_module_is_given_back():
    module = torch.jit.script(nn.Sequential(nn.BatchNorm1d(4), nn.Dropout()))
    module.train()
    pyprof.profile(module, torch.randn(8, 4), mode="infer", seconds=0.0)
    assert module.training
    pyprof.profile(module, torch.randn(8, 4, requires_grad=True), mode="train", seconds=0.0)
    assert torch.equal(module.state_dict()["0.running_mean"], torch.zeros(4))


def test_attributes_that_hold_themselves_end():
    module = nn.Linear(4, 4)
    module.loop = [torch.ones(1)]
    module.loop.append(module.loop)
    with given_back(module):
        module.loop[0].zero_()
    assert module.loop[0].item() == 1.0


@pytest.mark.parametrize(
    "value",
    [torch.eye(4).to_sparse(), torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)])],
    ids=["sparse", "nested"],
)
def test_inputs_whose_contents_are_not_copied_are_no_obstacle(value):
    profile = pyprof.profile(nn.Linear(4, 4), value, seconds=0.0)
    assert profile.layers[0].calls == 1


def test_under_instrument_the_users_own_steps_move_what_they_move():
    module = nn.BatchNorm1d(4)
    with pyprof.instrument(module, backward=True):
        module(torch.randn(8, 4)).sum().backward()
    assert int(module.num_batches_tracked) == 1
    assert module.weight.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_random_state_of_a_gpu_is_given_back():
    module = nn.Dropout().cuda()
    value = torch.ones(8, device="cuda", requires_grad=True)
    state = torch.cuda.get_rng_state()
    pyprof.profile(module, value, mode="train", seconds=0.0)
    assert torch.equal(torch.cuda.get_rng_state(), state)


class Remembering:
    """A cache that is no tensor and no container that PyTorch knows."""

    def __init__(self):
        self.kept = []

    def add(self, value):
        self.kept.append(value)
        return torch.cat(self.kept)


@MODES
def test_every_step_gets_the_same_inputs_also_caches(mode):
    lengths, sums = [], []

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, value, *, cache):
            sums.append(float(value.detach().sum()))
            value.detach().add_(1.0)
            values = cache.add(value * self.scale)
            lengths.append(len(values))
            return values

    cache = Remembering()
    cache.add(nn.Linear(4, 4)(torch.ones(3, 4)))  # computed: PyTorch refuses to copy such a tensor
    before = [tensor.detach().clone() for tensor in cache.kept]
    profile = pyprof.profile(Decoder(), torch.ones(1, 4), cache=cache, mode=mode, seconds=0.05)
    assert profile.steps > 1
    assert set(lengths) == {4}
    assert set(sums) == {4.0}
    assert len(cache.kept) == 1
    assert torch.equal(cache.kept[0], before[0])
    assert profile.notes == ()


def test_a_cache_of_transformers_does_not_grow():
    from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=1, n_embd=16, n_head=2, vocab_size=50, n_positions=16, bos_token_id=None, eos_token_id=None
    )
    model, cache, tokens = GPT2LMHeadModel(config).eval(), DynamicCache(), torch.zeros(1, 8, dtype=torch.long)
    model(tokens, past_key_values=cache)
    assert pyprof.profile(model, tokens[:, :1], past_key_values=cache, seconds=5.0).steps > 8  # the positions left
    assert cache.get_seq_length() == 8


def test_an_input_that_cannot_be_copied_is_said():
    class Stream:
        def __deepcopy__(self, memo):
            raise TypeError("a stream stays what it is")

        def read(self):
            return torch.ones(2, 4)

    class Reader(nn.Module):
        def forward(self, stream):
            return stream.read() * 2

    (note,) = pyprof.profile(Reader(), Stream(), seconds=0.0).notes
    assert "Stream" in note
    assert "a stream stays what it is" in note


def test_an_input_keeps_its_layout():
    seen = set()

    class Seeing(nn.Module):
        def forward(self, value, mask):
            seen.add((value.stride(), mask.stride()))
            return value * mask

    pyprof.profile(Seeing(), torch.ones(4, 2).t(), torch.ones(4).expand(2, 4), seconds=0.0)
    assert seen == {((1, 2), (0, 1))}


@MODES
def test_weights_that_a_forward_writes_are_what_they_were(mode):
    class Codebook(nn.Module):
        def __init__(self):
            super().__init__()
            self.codes = nn.Parameter(torch.ones(3, 4))

        def forward(self, value):
            self.codes.data.lerp_(torch.zeros(3, 4), 0.5)
            return value @ self.codes.clone().t()

    module = Codebook()
    held = module.codes
    pyprof.profile(module, torch.ones(2, 4), mode=mode, seconds=0.0)
    assert module.codes is held
    assert torch.equal(held, torch.ones(3, 4))


def test_weights_that_would_fill_the_memory_are_not_copied(monkeypatch):
    from pyprof.device.memory import MemoryBudget
    from pyprof.layers import snapshot

    module = nn.Linear(8, 8)  # 288 bytes
    for free, copied in ((288 * 4, True), (288 * 4 - 4, False)):
        monkeypatch.setattr(
            snapshot.registry.HostDevice, "free_memory", lambda _self, free=free: MemoryBudget(free, "a test")
        )
        with snapshot.given_back(module), torch.no_grad():
            module.weight.fill_(7.0)
        assert (not torch.any(module.weight == 7.0)) == copied

from __future__ import annotations

import pytest
import torch
from torch import nn

from pyprof.models.blueprint import blueprint
from pyprof.models.registry import ENTRIES, Entry, entry
from pyprof.models.weights import deferred_random, fill


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.name)
def test_everything_but_the_random_numbers_is_what_the_usual_construction_gives(one: Entry) -> None:
    ours = blueprint(one, "tiny").build(one.then, seed=0)
    plan = blueprint(one, "tiny")
    plan.config._attn_implementation = one.then
    usual = plan.model(plan.config)
    buffers = dict(usual.named_buffers())
    assert dict(ours.named_buffers()).keys() == buffers.keys()
    for name, buffer in ours.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    parameters = dict(usual.named_parameters())
    assert dict(ours.named_parameters()).keys() == parameters.keys()
    for name, parameter in ours.named_parameters():
        usually = parameters[name]
        assert (parameter.shape, parameter.dtype) == (usually.shape, usually.dtype)
        assert parameter.isfinite().all(), name
        # The mask's embedding is never used; convolutions and what is reparametrised have a scale of their own.
        drawn_otherwise = "parametrizations" in name or isinstance(_owner(usual, name), (nn.Conv1d, nn.Conv2d))
        if name == "masked_spec_embed" or (drawn_otherwise and parameter.dim() > 1):
            continue
        if parameter.dim() == 1:
            assert torch.equal(parameter, usually), name
        else:
            # Two deviations of n draws each differ by a factor of about 1 + 1 / sqrt(n); five times that is no chance.
            rel = 0.02 + 5 / parameter.numel() ** 0.5
            assert parameter.std().item() == pytest.approx(usually.std().item(), rel=rel), name


def _owner(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name.rpartition(".")[0])


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (blueprint(entry("vit"), "tiny").build("eager", seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    differing = [name for name in one if not torch.equal(one[name], other[name])]
    assert {"embeddings.cls_token", "layers.0.mlp.fc1.weight"} <= set(differing)


def test_rows_of_padding_stay_zero_and_weight_normalisation_holds() -> None:
    bert = blueprint(entry("bert"), "tiny").build("eager", 0)
    assert not bert.get_parameter("embeddings.word_embeddings.weight")[0].any()
    hubert = blueprint(entry("hubert"), "tiny").build("eager", 0)
    original = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
    gain, direction = hubert.get_parameter(original + "0"), hubert.get_parameter(original + "1")
    torch.testing.assert_close(gain, direction.norm(dim=(0, 1), keepdim=True))


def test_what_is_set_after_a_draw_is_kept() -> None:
    with deferred_random() as pending:
        layer = nn.Linear(8, 8)
        nn.init.zeros_(layer.bias)
        nn.init.eye_(layer.weight)
        other = nn.Linear(300, 300)
        nn.init.ones_(other.weight)
        nn.init.normal_(other.weight)
    fill(nn.ModuleList([layer, other]), pending, seed=0)
    assert not layer.bias.any()
    assert other.weight.std().item() == pytest.approx(0.02, rel=0.05)

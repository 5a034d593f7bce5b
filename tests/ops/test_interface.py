from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from naive_attention import Problem, naive_attention, visible
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface

from pyprof.errors import UsageError
from pyprof.ops import interface

interface.install()
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 60,
    "attention_dropout": 0.0,
}
SPEECH: dict[str, Any] = SMALL | {
    "conv_dim": (16, 16),
    "conv_kernel": (5, 3),
    "conv_stride": (4, 2),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}


def tokens(count: int) -> torch.Tensor:
    return torch.randint(3, 60, (2, count), generator=torch.Generator().manual_seed(count))


def waveform(count: int) -> torch.Tensor:
    return torch.randn(2, count, generator=torch.Generator().manual_seed(count))


def image(side: int) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))


@dataclasses.dataclass(frozen=True)
class Family:
    """A small random model of transformers, and an input of it."""

    model: str
    settings: dict[str, Any]
    inputs: Callable[[], torch.Tensor]

    def build(self, attention: str, **changes: Any) -> nn.Module:
        torch.manual_seed(0)
        model_type = getattr(transformers, self.model)
        config = model_type.config_class(**(self.settings | changes))
        config._attn_implementation = attention
        return model_type(config).eval()

    def __str__(self) -> str:
        return self.model


TEXT = {"max_position_embeddings": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FAMILIES = [
    Family("HubertModel", SPEECH, lambda: waveform(400)),
    Family("Wav2Vec2Model", SPEECH, lambda: waveform(400)),
    Family("ViTModel", SMALL | {"image_size": 24, "patch_size": 4}, lambda: image(24)),
    Family("BertModel", SMALL | TEXT, lambda: tokens(37)),
    Family(
        "ModernBertModel",
        SMALL | {"local_attention": 8, "global_attn_every_n_layers": 2, "num_hidden_layers": 3, "pad_token_id": 0},
        lambda: tokens(37),
    ),
]
HUBERT, WAV2VEC2, VIT, BERT, MODERN_BERT = FAMILIES


@pytest.fixture
def banded(monkeypatch):
    """Put a band into every dense attention that PyTorch computes, whatever mask it is given."""

    def use(window: tuple[int, int]) -> None:
        dense = functional.scaled_dot_product_attention

        def under_a_band(query, key, value, attn_mask=None, **rest):
            band = visible(Problem(window, length=query.shape[2]))
            mask = band if attn_mask is None else attn_mask & band
            return dense(query, key, value, attn_mask=mask, **rest)

        monkeypatch.setattr(functional, "scaled_dot_product_attention", under_a_band)

    return use


def run(model: nn.Module, *args: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(*args, **inputs).last_hidden_state


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_window_over_everything_changes_nothing(family):
    inputs = family.inputs()
    expected = run(family.build("sdpa", **({"local_attention": 400} if family is MODERN_BERT else {})), inputs)
    torch.testing.assert_close(run(family.build("fused", window=(500, 500)), inputs), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["fused", "chunks", "sdpa-mask"])
@pytest.mark.parametrize("family", FAMILIES[:4], ids=str)
def test_equals_dense_attention_under_the_band(family, name, banded):
    inputs = family.inputs()
    ours = run(family.build(name, window=(3, 3)), inputs)
    dense = run(family.build("sdpa"), inputs)
    banded((3, 3))
    expected = run(family.build("sdpa"), inputs)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    # The band is really there.
    assert (ours - dense).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["fused", "chunks", "sdpa-mask"])
@pytest.mark.parametrize("padded", [False, True])
def test_modern_bert_keeps_its_own_windows_and_its_global_layers(name, padded):
    mask = torch.ones(2, 37, dtype=torch.int64)
    if padded:
        mask[1, 22:] = 0
    ours = run(MODERN_BERT.build(name), tokens(37), attention_mask=mask)
    expected = run(MODERN_BERT.build("sdpa"), tokens(37), attention_mask=mask)
    wider = run(MODERN_BERT.build("sdpa", local_attention=10), tokens(37), attention_mask=mask)
    valid = mask.bool()
    torch.testing.assert_close(ours[valid], expected[valid], atol=1e-5, rtol=1e-5)
    assert (ours[valid] - wider[valid]).abs().max() > 1e-3


def test_flex_runs_in_a_model(monkeypatch):
    from torch.nn.attention.flex_attention import flex_attention

    from pyprof.ops import flex

    monkeypatch.setattr(flex, "_compiled", lambda: flex_attention)
    ours = run(BERT.build("flex", window=(3, 3)), tokens(37))
    torch.testing.assert_close(ours, run(BERT.build("fused", window=(3, 3)), tokens(37)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["fused", "chunks", "sdpa-mask"])
def test_padding_on_the_right_is_honoured(name, banded):
    mask = torch.ones(2, 37, dtype=torch.int64)
    mask[1, 20:] = 0
    ours = run(BERT.build(name, window=(3, 3)), tokens(37), attention_mask=mask)
    ignored = run(BERT.build(name, window=(3, 3)), tokens(37))
    banded((3, 3))
    alone = run(BERT.build("sdpa"), tokens(37)[1:, :20])
    torch.testing.assert_close(ours[1:, :20], alone, atol=1e-5, rtol=1e-5)
    assert (ignored[1:, :20] - alone).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["fused", "chunks", "flex", "sdpa-mask"])
@pytest.mark.parametrize("place", [0, 7])
def test_any_other_padding_is_refused(name, place):
    mask = torch.ones(2, 37, dtype=torch.int64)
    mask[1, place] = 0
    with pytest.raises(UsageError, match="padding on the right only: set padding_side='right'"):
        run(BERT.build(name, window=(3, 3)), tokens(37), attention_mask=mask)


def test_a_mask_without_padding_costs_nothing_in_the_kernel():
    assert interface._right_padding(torch.ones(2, 5, dtype=torch.bool)) is None
    lengths = interface._right_padding(torch.tensor([[True, True, False], [False, False, False]]))
    assert lengths.dtype == torch.int64
    assert lengths.tolist() == [2, 0]


def test_windows_differ_between_layers(banded):
    windows = [[1, 2], [6, 6]]
    ours = run(BERT.build("fused", window=windows), tokens(37))
    swapped = run(BERT.build("fused", window=windows[::-1]), tokens(37))
    assert (ours - swapped).abs().max() > 1e-2
    model = BERT.build("fused", window=windows)
    assert [interface.window_of(layer.attention.self) for layer in model.encoder.layer] == [(1, 2), (6, 6)]
    with_global = BERT.build("fused", window=[[500, 500], None])
    torch.testing.assert_close(run(with_global, tokens(37)), run(BERT.build("sdpa"), tokens(37)), atol=1e-5, rtol=1e-5)


def test_the_window_of_a_module():
    class Config:
        window = (1, 2)

    module = nn.Module()
    assert interface.window_of(module) is None
    assert interface.window_of(module, sliding_window=5) == (4, 4)
    module.config = Config()
    assert interface.window_of(module, sliding_window=5) == (1, 2)
    module.window = [3, 4]
    assert interface.window_of(module) == (3, 4)


@pytest.mark.parametrize(
    ("window", "layer", "message"),
    [
        ([[1, 1], [2, 2]], None, "layer_idx is None"),
        ([[1, 1], [2, 2]], 2, "has a pair for each of 2 layers"),
        ("16", 0, "window is '16'"),
        ([-1, 1], 0, r"two integers of at least 0"),
    ],
)
def test_a_window_that_cannot_be_is_refused(window, layer, message):
    module = nn.Module()
    module.config = type("Config", (), {"window": window})()
    module.layer_idx = layer
    with pytest.raises(UsageError, match=message):
        interface.window_of(module)


CAUSAL = SMALL | {"num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MISTRAL = Family("MistralModel", CAUSAL | {"sliding_window": 5}, lambda: tokens(37))
LLAMA = Family("LlamaModel", CAUSAL, lambda: tokens(37))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", [MISTRAL, LLAMA], ids=str)
def test_causal_models_stay_causal(family, padded):
    mask = torch.ones(2, 37, dtype=torch.int64)
    if padded:
        mask[1, 22:] = 0
    inputs = {"attention_mask": mask, "use_cache": False}
    ours = run(family.build("fused"), tokens(37), **inputs)
    expected = run(family.build("sdpa"), tokens(37), **inputs)
    torch.testing.assert_close(ours[mask.bool()], expected[mask.bool()], atol=1e-5, rtol=1e-5)


def test_a_causal_model_with_a_window_of_its_own_sees_nothing_ahead(banded):
    ours = run(LLAMA.build("fused", window=(4, 4)), tokens(37), use_cache=False)
    banded((4, 0))
    plain = LLAMA.build("sdpa")
    for layer in plain.layers:
        layer.self_attn.is_causal = False  # the band says it, and PyTorch takes no mask beside is_causal
    torch.testing.assert_close(ours, run(plain, tokens(37), use_cache=False), atol=1e-5, rtol=1e-5)


def test_going_on_from_a_cache_is_refused():
    model = MISTRAL.build("fused")
    with torch.no_grad():
        cache = model(tokens(37), use_cache=True).past_key_values
    with pytest.raises(UsageError, match="use_cache=False"), torch.no_grad():
        model(tokens(37)[:, :1], past_key_values=cache, use_cache=True)


def test_packed_sequences_are_refused():
    positions = torch.cat((torch.arange(20), torch.arange(17)))[None].expand(2, -1)
    with pytest.raises(UsageError, match="packed sequences"):
        run(MISTRAL.build("fused"), tokens(37), position_ids=positions, use_cache=False)


def test_a_mask_that_was_prepared_is_refused_where_there_is_a_window():
    prepared = torch.ones(2, 1, 37, 37, dtype=torch.bool)
    with pytest.raises(UsageError, match=r"got a mask of shape \(2, 1, 37, 37\)"):
        run(BERT.build("fused", window=(3, 3)), tokens(37), attention_mask=prepared)
    without = run(BERT.build("fused"), tokens(37), attention_mask=prepared.tril())
    torch.testing.assert_close(without, run(BERT.build("sdpa"), tokens(37), attention_mask=prepared.tril()))


@pytest.mark.parametrize("asked", ["softcap", "position_bias", "s_aux"])
def test_what_a_kernel_would_leave_out_is_refused(asked):
    query = torch.zeros(1, 1, 4, 8)
    forward = AttentionInterface()["fused"]
    with pytest.raises(UsageError, match=f"has no {asked}, which this model needs"):
        forward(nn.Module(), query, query, query, None, **{asked: torch.ones(1)})


def test_chunked_masks_are_not_taken_for_windows():
    from transformers import masking_utils

    zeros = torch.zeros(2, dtype=torch.int64)
    sliding = masking_utils.sliding_window_causal_mask_function(8)
    both_sides = masking_utils.sliding_window_bidirectional_mask_function(8)
    chunked = masking_utils.chunked_causal_mask_function(8, zeros)
    assert interface._is_window(sliding, True, 8, 40)
    assert interface._is_window(both_sides, False, 8, 40)
    assert interface._is_window(both_sides, False, 8, 5)
    assert not interface._is_window(chunked, True, 8, 40)
    assert not interface._is_window(both_sides, True, 8, 40)
    assert not interface._is_window(sliding, True, 9, 40)


def test_gradients_through_a_model(banded):
    def gradients(model: nn.Module) -> list[torch.Tensor]:
        model(tokens(37), attention_mask=mask).last_hidden_state[mask.bool()].square().sum().backward()
        return [parameter.grad for parameter in model.encoder.parameters()]

    mask = torch.ones(2, 37, dtype=torch.int64)
    mask[1, 30:] = 0
    ours = gradients(BERT.build("fused", window=(3, 3)))
    banded((3, 3))
    for mine, expected in zip(ours, gradients(BERT.build("sdpa")), strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("padded", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_whole_model_compiles_as_one_graph(padded):
    model = BERT.build("fused", window=(3, 3))
    mask = torch.ones(2, 37, dtype=torch.int64)
    mask[1, 30:] = 0
    inputs = {"attention_mask": mask} if padded else {}
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(compiled, tokens(37), **inputs), run(model, tokens(37), **inputs))


def test_an_own_implementation_can_be_registered(monkeypatch):
    calls = []

    def naive(query, key, value, window, *, key_lengths=None, scale=None, dropout_p=0.0):
        calls.append(window)
        assert (key_lengths, dropout_p) == (None, 0.0)
        return naive_attention(query, key, value, visible(Problem(window, length=query.shape[2])), scale)[0]

    monkeypatch.setattr(interface, "IMPLEMENTATIONS", copy.copy(interface.IMPLEMENTATIONS))
    interface.register("naive-of-a-test", naive)
    ours = run(VIT.build("naive-of-a-test", window=(2, 5)), image(24))
    assert calls == [(2, 5)] * 2
    torch.testing.assert_close(ours, run(VIT.build("fused", window=(2, 5)), image(24)), atol=1e-5, rtol=1e-5)

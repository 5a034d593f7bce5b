"""The span of attention made by hand, in closed form; and of models whose attention is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, LongformerConfig, LongformerModel

from pyprof.errors import UsageError
from pyprof.models.zoo.config import ZooConfig
from pyprof.models.zoo.encoder import ZooEncoder
from pyprof.models.zoo.mechanisms import mechanism
from pyprof.quality.span import mean_distance, span_over, spans, uniform_distance


def rows(weights: torch.Tensor) -> torch.Tensor:
    """(queries, keys) as one example's one head."""
    return weights[None, None]


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_uniform_attention_reaches_a_third_of_the_length(length):
    found = mean_distance(rows(torch.full((length, length), 1 / length, dtype=torch.float64)))
    assert found.item() == pytest.approx((length**2 - 1) / (3 * length), abs=1e-12)
    assert uniform_distance(length) == pytest.approx((length**2 - 1) / (3 * length))


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_causal_uniform_attention_reaches_a_quarter(length):
    weights = torch.ones(length, length, dtype=torch.float64).tril()
    found = mean_distance(rows(weights / weights.sum(-1, keepdim=True)))
    assert found.item() == pytest.approx((length - 1) / 4, abs=1e-12)
    assert uniform_distance(length, causal=True) == pytest.approx((length - 1) / 4)


def test_attention_to_itself_reaches_nowhere():
    assert mean_distance(rows(torch.eye(9))).item() == 0


@pytest.mark.parametrize("offset", [1, 4])
def test_attention_to_a_fixed_offset_reaches_so_far(offset):
    length = 12
    places = torch.arange(length)
    around = torch.zeros(length, length)
    around[places, (places + offset) % length] = 1
    # Those that fall off the end begin again: of n queries, `offset` look back n - offset places.
    expected = ((length - offset) * offset + offset * (length - offset)) / length
    assert mean_distance(rows(around)).item() == pytest.approx(expected)
    clipped = torch.zeros(length, length)
    clipped[places, (places - offset).clamp(min=0)] = 1
    expected = (sum(range(offset)) + (length - offset) * offset) / length
    assert mean_distance(rows(clipped)).item() == pytest.approx(expected)


def test_padding_does_not_count():
    length, sizes = 16, torch.tensor([16, 5])
    weights = torch.zeros(2, 3, length, length, dtype=torch.float64)
    for example, size in enumerate(sizes.tolist()):
        weights[example, :, :, :size] = 1 / size
    found = mean_distance(weights, sizes)
    for example, size in enumerate(sizes.tolist()):
        torch.testing.assert_close(found[example], torch.full((3,), (size**2 - 1) / (3 * size), dtype=torch.float64))


def test_keys_of_a_memory_lie_before_the_queries():
    weights = torch.zeros(1, 1, 4, 10)
    weights[..., 0] = 1
    assert mean_distance(weights).item() == pytest.approx((6 + 7 + 8 + 9) / 4)


def test_queries_without_weights_are_left_out_and_weights_that_are_no_mean_are_told():
    weights = torch.eye(6).roll(1, 0)
    weights[3] = 0
    assert mean_distance(rows(weights)).item() == pytest.approx((5 + 1 + 1 + 1 + 1) / 5)
    with pytest.raises(UsageError, match="do not sum to one"):
        mean_distance(rows(torch.ones(4, 4)))


def zoo(name: str, causal: bool = False, **options: float) -> ZooEncoder:
    torch.manual_seed(0)
    chosen = mechanism(name)
    shape = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 48}
    settings = {**chosen.options_of("tiny"), **options}
    return ZooEncoder(ZooConfig(attention=name, options=settings, causal=causal, vocab_size=50, **shape)).eval()


def looks_everywhere(model: nn.Module) -> None:
    """Without queries all keys are looked at alike."""
    for layer in model.stack.layers:
        layer.attention.query.weight.data.zero_()
        layer.attention.query.bias.data.zero_()


@pytest.mark.parametrize("causal", [False, True])
def test_a_vanilla_model_that_looks_everywhere_reaches_as_far_as_uniform_attention(causal):
    model = zoo("dense", causal)
    looks_everywhere(model)
    tokens = torch.randint(1, 50, (2, 21))
    found = spans(model, lambda: model(tokens))
    assert found.shape == (3, 2, 2)
    torch.testing.assert_close(found, torch.full_like(found, uniform_distance(21, causal)))


def test_padding_of_a_model_does_not_count():
    model = zoo("dense")
    looks_everywhere(model)
    tokens, mask = torch.randint(1, 50, (2, 21)), torch.ones(2, 21, dtype=torch.long)
    mask[1, 9:] = 0
    found = spans(model, lambda: model(tokens, attention_mask=mask))
    torch.testing.assert_close(found[:, 1], torch.full_like(found[:, 1], uniform_distance(9)))


def test_local_blocks_and_windows_reach_no_farther_than_they_look():
    tokens = torch.randint(1, 50, (1, 40))
    local = zoo("local", block=8)
    looks_everywhere(local)
    found = spans(local, lambda: local(tokens))
    torch.testing.assert_close(found, torch.full_like(found, uniform_distance(8)))
    window = zoo("window", causal=True, window=3)
    looks_everywhere(window)
    found = spans(window, lambda: window(tokens))
    torch.testing.assert_close(found, torch.full_like(found, (0 + 0.5 + 1 + 37 * 1.5) / 40), atol=1e-5, rtol=1e-5)


def test_a_transformers_model_is_asked_for_its_weights():
    config = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    model = BertModel(BertConfig(**config, vocab_size=50, attn_implementation="eager")).eval()
    tokens = torch.randint(1, 50, (2, 17))
    with torch.no_grad():
        weights = model(tokens, output_attentions=True).attentions
    found = spans(model, lambda: model(tokens))
    torch.testing.assert_close(found, torch.stack([mean_distance(each) for each in weights]))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("name", ["transformer-xl", "linformer", "set-transformer", "all-attention"])
def test_a_mechanism_without_weights_over_tokens_is_told(name):
    model = zoo(name)
    with pytest.raises(UsageError, match=r"no attention weights|do not sum to one"):
        spans(model, lambda: model(torch.randint(1, 50, (1, 24))))


def test_what_shows_no_weights_is_told():
    fused = BertModel(BertConfig(hidden_size=32, num_attention_heads=2, num_hidden_layers=1, vocab_size=50)).eval()
    tokens = torch.randint(1, 50, (1, 16))
    with pytest.raises(UsageError, match="only eager attention"):
        spans(fused, lambda: fused(tokens))
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    longformer = LongformerModel(LongformerConfig(**shape, vocab_size=50, attention_window=[4])).eval()
    with pytest.raises(UsageError, match=r"eager|each pair"):
        spans(longformer, lambda: longformer(tokens))
    with pytest.raises(UsageError, match="shows no attention weights"):
        spans(nn.Linear(3, 3), lambda: None)


def test_a_span_over_examples_has_its_intervals():
    batches = [torch.arange(12.0).view(2, 3, 2), torch.arange(12.0).view(2, 3, 2) + 1]
    found = span_over(batches, [10] * 6)
    every = torch.cat(batches, dim=1)
    assert found.examples == 6
    assert found.mean.value == pytest.approx(every.mean().item())
    assert found.mean.low < found.mean.value < found.mean.high
    assert [each.value for each in found.layers] == pytest.approx(every.mean(dim=(1, 2)).tolist())
    assert found.heads[1][0].value == pytest.approx(every[1, :, 0].mean().item())
    assert found.uniform == pytest.approx(3.3)
    assert found.to_json()["layers"][0]["value"] == pytest.approx(found.layers[0].value)

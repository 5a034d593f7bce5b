"""A prompt fills a cache, and one more token reads it: against a forward over everything at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralModel,
    T5Config,
    T5Model,
)

import pyprof
from pyprof.device.memory import cache_in, resident_bytes
from pyprof.errors import UsageError
from pyprof.layers.generation import one_more_token, prompt, unchanged
from pyprof.layers.step_inputs import SameInputs

TOKENS = 12
FLOAT = 4


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50)).eval()


def windowed() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 50}
    return MistralModel(MistralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, sliding_window=5)).eval()


def t5() -> nn.Module:
    return T5Model(T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)).eval()


def ids(batch: int = 2, tokens: int = TOKENS) -> torch.Tensor:
    return torch.randint(0, 50, (batch, tokens), generator=torch.Generator().manual_seed(0))


def more(module: nn.Module, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    with torch.no_grad():
        return one_more_token(module, prompt(module, ((), kwargs), "mine"), module, "mine")


@pytest.mark.parametrize("make", [gpt2, windowed])
def test_one_more_token_is_the_last_row_of_a_forward_over_all(make: Any) -> None:
    module, given = make(), ids()
    _, kwargs = more(module, input_ids=given)
    whole = torch.cat((given, kwargs["input_ids"]), dim=1)
    with torch.no_grad():
        at_once, token = module(input_ids=whole)[0], module(**kwargs)[0]
    assert token.shape[1] == 1
    torch.testing.assert_close(token[:, -1], at_once[:, -1], rtol=1e-4, atol=1e-5)


def test_beside_an_encoder_the_token_comes_with_what_the_encoder_gave() -> None:
    module, given = t5(), ids()
    _, kwargs = more(module, input_ids=given, decoder_input_ids=given)
    assert "input_ids" not in kwargs
    whole = torch.cat((given, kwargs["decoder_input_ids"]), dim=1)
    with torch.no_grad():
        at_once = module(input_ids=given, decoder_input_ids=whole)[0]
        token = module(**kwargs)[0]
    torch.testing.assert_close(token[:, -1], at_once[:, -1], rtol=1e-4, atol=1e-5)


def test_tokens_given_by_position_and_a_mask_go_on() -> None:
    module = gpt2()
    with torch.no_grad():
        given = prompt(module, ((ids(),), {"attention_mask": torch.ones(2, TOKENS)}), "mine")
        _, kwargs = one_more_token(module, given, module, "mine")
    assert kwargs["attention_mask"].shape == (2, TOKENS + 1)
    assert module(**kwargs)[0].shape[1] == 1


def test_every_step_finds_the_same_cache_and_nothing_is_copied() -> None:
    module = gpt2()
    inputs = more(module, input_ids=ids())
    before = {each.data_ptr() for each in unchanged(inputs)}
    assert len(before) == 4
    same = SameInputs(*inputs, unchanged(inputs))
    results = []
    for _ in range(3):
        _, kwargs = same.take()
        assert cache_in(kwargs).get_seq_length() == TOKENS
        assert {each.data_ptr() for each in unchanged(((), kwargs))} == before
        with torch.inference_mode():
            results.append(module(**kwargs)[0])
        assert cache_in(kwargs).get_seq_length() == TOKENS + 1
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize(("make", "heads", "width", "kept"), [(gpt2, 2, 8, TOKENS), (windowed, 2, 4, 4)])
def test_the_cache_holds_what_its_kind_keeps(make: Any, heads: int, width: int, kept: int) -> None:
    cache = cache_in(more(make(), input_ids=ids())[1])
    held = 2 * 2 * 2 * heads * kept * width * FLOAT  # keys and values, layers, examples
    assert resident_bytes(None, cache) - held in (0, 2 * 8)  # a window's width, a number for each layer


@pytest.mark.parametrize("module", [BertModel(BertConfig(num_hidden_layers=1)), nn.Linear(4, 4)])
@pytest.mark.parametrize("mode", ["prefill", "generate"])
def test_what_is_no_decoder_cannot_generate(module: nn.Module, mode: str) -> None:
    argument = ids() if isinstance(module, BertModel) else torch.randn(2, 4)
    with pytest.raises(UsageError, match="cannot generate: choose mode infer or train"):
        pyprof.profile(module, argument, mode=mode, seconds=0)


def test_a_decoder_is_profiled_in_both_modes_and_given_back() -> None:
    module = gpt2().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    calls = {}
    for mode in ("prefill", "generate"):
        profile = pyprof.profile(module, ids(), mode=mode, seconds=0)
        profile.self_check()
        assert {"self-attention", "feedforward", "head"} <= set(profile.kinds())
        calls[mode] = profile.layers[0].calls
    assert calls == {"prefill": 1, "generate": 1}
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())

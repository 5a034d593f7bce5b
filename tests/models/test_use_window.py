from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LongformerConfig,
    LongformerModel,
    ModernBertConfig,
    ModernBertModel,
    SwinConfig,
    SwinModel,
    Swinv2Config,
    Swinv2Model,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from pyprof import models
from pyprof.errors import UsageError
from pyprof.models import use_window_attention
from pyprof.models.speech import hubert
from pyprof.ops.sdpa import visible_keys

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TEXT = {**SMALL, "vocab_size": 64, "max_position_embeddings": 64}
TOKENS = torch.randint(5, 60, (2, 40), generator=torch.Generator().manual_seed(0))
WAVES = torch.randn(2, 13_000, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SWIN: dict[str, Any] = {"image_size": 32, "embed_dim": 16, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}


def modern(**options: Any) -> ModernBertModel:
    config = {**TEXT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return ModernBertModel(ModernBertConfig(**config, **options))


def wav2vec2() -> Wav2Vec2Model:
    convolutions = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return Wav2Vec2Model(Wav2Vec2Config(**SMALL, **convolutions, mask_time_prob=0.0))


def tiny_hubert() -> nn.Module:
    plan = hubert("tiny")
    return plan.model(plan.config)


DISPATCHING = {
    "bert": (lambda: BertModel(BertConfig(**TEXT)), TOKENS),
    "modernbert": (lambda: modern(global_attn_every_n_layers=1), TOKENS),
    "hubert": (tiny_hubert, WAVES),
    "wav2vec2": (wav2vec2, WAVES),
    "vit": (lambda: ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=4)), IMAGES),
}


def made(name: str) -> tuple[Any, Tensor]:
    make, inputs = DISPATCHING[name]
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "att" in path and parameter.dim() == 2:
                parameter.mul_(10.0)
    return model, inputs


def run(model: nn.Module, inputs: Tensor, **options: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(inputs, **options).last_hidden_state
    return found


@pytest.mark.parametrize("implementation", ["fused", "chunks", "sdpa-mask"])
@pytest.mark.parametrize("name", DISPATCHING)
def test_a_model_that_dispatches_by_name_gets_a_window(name: str, implementation: str) -> None:
    model, inputs = made(name)
    dense = run(model, inputs)
    assert use_window_attention(model, (100, 100), implementation) is model
    torch.testing.assert_close(run(model, inputs), dense, atol=1e-4, rtol=1e-4)
    use_window_attention(model, (3, 3), implementation)
    narrow = run(model, inputs)
    assert (narrow - dense).abs().max() > 1e-3
    use_window_attention(model, (3, 3), "sdpa-mask")
    torch.testing.assert_close(run(model, inputs), narrow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("window", [(5, 2), (0, 3)])
def test_bert_with_a_window_is_bert_under_a_band(window: tuple[int, int]) -> None:
    model, tokens = made("bert")
    band = visible_keys(40, window)[None, None]
    expected = run(model, tokens, attention_mask=band)
    use_window_attention(model, window)
    torch.testing.assert_close(run(model, tokens), expected, atol=1e-5, rtol=1e-5)
    keys = torch.arange(40)[None] < torch.tensor([[40], [21]])
    model.set_attn_implementation("sdpa")
    expected = run(model, tokens, attention_mask=band & keys[:, None, None])
    model.set_attn_implementation("fused")
    found = run(model, tokens, attention_mask=keys.long())
    torch.testing.assert_close(found[keys], expected[keys], atol=1e-5, rtol=1e-5)
    with pytest.raises(UsageError, match="padding on the right only"):
        model(tokens, attention_mask=keys.flip(-1).long())


@pytest.mark.parametrize("name", ["bert", "vit", "hubert"])
def test_windows_may_differ_between_layers(name: str) -> None:
    model, inputs = made(name)
    same = run(use_window_attention(model, [(2, 1), (2, 1)]), inputs)
    torch.testing.assert_close(run(use_window_attention(model, (2, 1)), inputs), same)
    for windows in ([(2, 1), (4, 4)], [(4, 4), (2, 1)]):
        other = run(use_window_attention(model, windows), inputs)
        assert (other - same).abs().max() > 1e-4
    with pytest.raises(UsageError, match="there are 3 windows for 2 layers"):
        use_window_attention(model, [(1, 1)] * 3)


def test_a_model_may_keep_the_windows_that_it_has() -> None:
    model = modern(global_attn_every_n_layers=2, local_attention=8).eval()
    expected = run(model, TOKENS)
    torch.testing.assert_close(run(use_window_attention(model, None), TOKENS), expected, atol=1e-5, rtol=1e-5)
    assert model.config._attn_implementation == "fused"
    with pytest.raises(UsageError, match="BertModel has no windows of its own: give a window"):
        use_window_attention(made("bert")[0], None)


SLIDING: dict[str, Any] = {**TEXT, "num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
OWN_WINDOWS = {
    "mistral": lambda: transformers.MistralModel(transformers.MistralConfig(**SLIDING, sliding_window=4)),
    "phi3": lambda: transformers.Phi3Model(transformers.Phi3Config(**SLIDING, sliding_window=4)),
    "mixtral": lambda: transformers.MixtralModel(
        transformers.MixtralConfig(**SLIDING, sliding_window=4, num_local_experts=2)
    ),
    "starcoder2": lambda: transformers.Starcoder2Model(transformers.Starcoder2Config(**SLIDING, sliding_window=4)),
    "gemma3": lambda: transformers.Gemma3TextModel(
        transformers.Gemma3TextConfig(**SLIDING, head_dim=16, sliding_window=4, **MIXED)
    ),
    "qwen2": lambda: transformers.Qwen2Model(
        transformers.Qwen2Config(**SLIDING, sliding_window=4, use_sliding_window=True, **MIXED)
    ),
    "mistral with a head": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SLIDING, sliding_window=4)
    ),
}


def slide(model: Any, window: int) -> None:
    """Set the sliding window of a model's configuration and of the layers that keep it themselves."""
    model.config.sliding_window = window
    for layer in model.modules():
        if getattr(layer, "sliding_window", None) is not None:
            layer.sliding_window = window


@pytest.mark.parametrize("implementation", ["fused", "sdpa-mask"])
@pytest.mark.parametrize("name", OWN_WINDOWS)
def test_a_sliding_window_of_the_configuration_is_a_window_of_its_own(name: str, implementation: str) -> None:
    model: Any = OWN_WINDOWS[name]().eval()
    inputs = {"input_ids": TOKENS, "use_cache": False}
    with torch.no_grad():
        expected = model(**inputs)[0]
        slide(model, 400)
        assert (model(**inputs)[0] - expected).abs().max() > 1e-4
        slide(model, 4)
        use_window_attention(model, None, implementation)
        torch.testing.assert_close(model(**inputs)[0], expected, atol=1e-5, rtol=1e-5)


def test_a_model_without_windows_of_its_own_says_why() -> None:
    def refused(model: Any, message: str, **options: Any) -> None:
        before = model.config._attn_implementation
        with pytest.raises(UsageError, match=message):
            use_window_attention(model, None, **options)
        assert model.config._attn_implementation == before

    none = transformers.MistralModel(transformers.MistralConfig(**SLIDING, sliding_window=None))
    refused(none, "as sliding_window of its configuration is None: give a window")
    full = {"head_dim": 16, "sliding_window": 4, "layer_types": ["full_attention"] * 2}
    dense = transformers.Gemma3TextModel(transformers.Gemma3TextConfig(**SLIDING, **full))
    refused(dense, "as no layer_types of its configuration slides: give a window")
    capped = transformers.Gemma2Model(transformers.Gemma2Config(**SLIDING, head_dim=16, sliding_window=4))
    refused(capped, "has no softcap, which this model needs")
    unused = made("bert")[0]
    unused.config.sliding_window = 4
    refused(unused, "BertModel does not use sliding_window of its configuration: give a window")


def test_a_part_that_the_example_does_not_reach_is_said_to_be_that() -> None:
    text = transformers.Gemma3TextConfig(**SLIDING, head_dim=16, sliding_window=4).to_dict()
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    model: Any = transformers.Gemma3ForConditionalGeneration(config).eval()
    with pytest.raises(UsageError, match=r"vision_tower.* is not called in the example, so nothing shows whether it"):
        use_window_attention(model, None)
    use_window_attention(model.model.language_model, None)


def test_models_that_share_a_configuration_stay_apart() -> None:
    config = BertConfig(**TEXT)
    one, other = BertModel(config).eval(), BertModel(config).eval()
    before = run(other, TOKENS)
    use_window_attention(one, (2, 2))
    assert torch.equal(run(other, TOKENS), before)
    assert config._attn_implementation == "sdpa"
    assert not hasattr(config, "window")
    assert {id(part.config) for part in one.modules() if hasattr(part, "config")} == {id(one.config)}


REFUSED = {
    "longformer": (
        lambda: LongformerModel(LongformerConfig(**TEXT, attention_window=[8, 8], pad_token_id=1)),
        "encoder.layer.0.attention.self of LongformerModel does not dispatch its attention by name",
    ),
    "swinv2": (lambda: Swinv2Model(Swinv2Config(**SWIN)), "of Swinv2Model does not dispatch its attention by name"),
    "swin": (lambda: SwinModel(SwinConfig(**SWIN)), "takes a padding mask .* and got a mask of shape"),
    "t5": (
        lambda: T5EncoderModel(T5Config(vocab_size=64, d_model=32, d_ff=64, d_kv=16, num_layers=2, num_heads=2)),
        "position_bias|takes a padding mask",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_ignores_the_window_is_refused_and_left_alone(name: str) -> None:
    make, message = REFUSED[name]
    model: Any = make()
    config, inputs = model.config, IMAGES if "swin" in name else TOKENS
    before = run(model.eval(), inputs)
    model.train()
    with pytest.raises(UsageError, match=message) as caught:
        use_window_attention(model, (4, 4))
    assert "\n" not in str(caught.value)
    assert model.config is config
    assert model.training
    assert (hasattr(config, "window"), config._attn_implementation in ("sdpa", "eager")) == (False, True)
    assert torch.equal(run(model.eval(), inputs), before)


def test_a_causal_model_looks_to_the_left_only() -> None:
    model = GPT2Model(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64, n_positions=64)).eval()
    dense = run(model, TOKENS, use_cache=False)
    example = {"input_ids": TOKENS, "use_cache": False}
    with pytest.raises(UsageError, match=r"GPT2Model is causal: give a window \(left, 0\)"):
        use_window_attention(model, (3, 3), inputs=example)
    use_window_attention(model, (40, 0), inputs=example)
    torch.testing.assert_close(run(model, TOKENS, use_cache=False), dense, atol=1e-5, rtol=1e-5)


def test_wrong_use_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="Linear is no transformers model"):
        use_window_attention(nn.Linear(2, 2), (1, 1))
    model = made("bert")[0]
    with pytest.raises(UsageError, match=r"no window attention 'sdpa': choose from .*fused"):
        use_window_attention(model, (1, 1), "sdpa")
    with pytest.raises(UsageError, match="a window is a pair"):
        use_window_attention(model, 4)
    with pytest.raises(UsageError, match="BertModel fails on the example that it is tried on: ValueError"):
        use_window_attention(model, (1, 1), inputs={"tokens": TOKENS})
    model.main_input_name = "spectrogram"
    with pytest.raises(UsageError, match="no example to try BertModel on: give inputs"):
        use_window_attention(model, (1, 1))
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = models.no_such_name


@pytest.mark.parametrize("refused", [False, True])
def test_the_model_and_the_random_state_are_given_back(refused: bool) -> None:
    """Frozen parts stay in eval mode, statistics and gradients stay what they are, also where a window is refused."""
    model, tokens = made("bert")
    model.train()
    model.encoder.layer[1].eval()
    model.embeddings.norm = nn.BatchNorm1d(40).requires_grad_(False)  # type: ignore[union-attr]
    model.embeddings.register_forward_hook(lambda module, args, output: module.norm(output))
    model.pooler.dense.weight.grad = gradient = torch.ones_like(model.pooler.dense.weight)
    modes = [layer.training for layer in model.modules()]
    assert len(set(modes)) == 2
    statistics, drawn = model.embeddings.norm.running_mean, torch.get_rng_state()
    if refused:
        model.encoder.layer[0].attention.self.is_causal = True
        with pytest.raises(UsageError, match="is causal"):
            use_window_attention(model, (3, 3), inputs={"input_ids": tokens})
        with pytest.raises(UsageError, match="fails on the example"):
            use_window_attention(model, (3, 0), inputs={"input_ids": tokens[:, :3]})
    else:
        use_window_attention(model, (3, 3), inputs={"input_ids": tokens})
    assert [layer.training for layer in model.modules()] == modes
    assert model.embeddings.norm.running_mean is statistics
    assert torch.equal(statistics, torch.zeros(40))
    assert model.pooler.dense.weight.grad is gradient
    assert torch.equal(torch.get_rng_state(), drawn)


def test_an_interruption_gives_the_model_back() -> None:
    model, _ = made("vit")
    model.train()
    model.encoder.eval() if hasattr(model, "encoder") else model.layers.eval()
    modes, config, calls = [layer.training for layer in model.modules()], model.config, 0

    def interrupt(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    model.embeddings.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        use_window_attention(model, (3, 3))
    assert [layer.training for layer in model.modules()] == modes
    assert model.config is config

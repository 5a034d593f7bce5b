"""The kinds of real models' layers: what each common family is made of, and how little of its step is `other`.

The models are tiny, four blocks of 256 units, and no smaller: below that a model's own Python between its layers
(masks, residuals, caches), which is what `other` then holds, takes as long as what it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers

import pyprof
from pyprof.layers.kinds import classify

WIDTH, LENGTH, IMAGE = 256, 256, 96
MOST_OTHER = 0.10
TRIES = 3  # another process on the machine can take any layer's time
TOKENS: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 4 * WIDTH,
}
PATCHES = {**{name: value for name, value in TOKENS.items() if name != "vocab_size"}, "image_size": IMAGE}
ENCODER_DECODER: dict[str, Any] = {
    "vocab_size": 128,
    "d_model": WIDTH,
    **{f"{side}_layers": 4 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 4 * WIDTH for side in ("encoder", "decoder")},
}
Made = tuple[torch.nn.Module, dict[str, Any]]


def made(name: str, inputs: dict[str, Any], suffix: str = "Model", **options: Any) -> Made:
    config = getattr(transformers, f"{name}Config")(**options)
    return getattr(transformers, name + suffix)(config), inputs


def tokens(length: int = LENGTH) -> torch.Tensor:
    return torch.randint(3, 100, (1, length))


def pixels() -> torch.Tensor:
    return torch.randn(1, 3, IMAGE, IMAGE)


def llama() -> Made:
    return made("Llama", {"input_ids": tokens()}, **TOKENS)


def t5() -> Made:
    sizes = {"d_model": WIDTH, "d_kv": WIDTH // 4, "d_ff": 4 * WIDTH, "num_layers": 4, "num_heads": 4}
    return made("T5", {"input_ids": tokens(), "decoder_input_ids": tokens()}, vocab_size=128, **sizes)


def whisper() -> Made:
    inputs = {"input_features": torch.randn(1, 16, 2 * LENGTH), "decoder_input_ids": tokens()}
    special = {f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "decoder_start")}
    longest = {"max_source_positions": LENGTH, "max_target_positions": LENGTH}
    return made("Whisper", inputs, num_mel_bins=16, **special, **longest, **ENCODER_DECODER)


def dinov2() -> Made:
    return made("Dinov2", {"pixel_values": pixels()}, patch_size=6, **PATCHES)


def mixtral() -> Made:
    return made("Mixtral", {"input_ids": tokens()}, num_key_value_heads=4, num_local_experts=4, **TOKENS)


def mamba() -> Made:
    return made("Mamba", {"input_ids": tokens(64)}, vocab_size=128, hidden_size=WIDTH, num_hidden_layers=2)


def convnext() -> Made:
    return made("ConvNext", {"pixel_values": pixels()}, hidden_sizes=[64, 128, 256, 256], depths=[1, 1, 2, 1])


def clip() -> Made:
    text = {**TOKENS, "max_position_embeddings": LENGTH}
    inputs = {"input_ids": tokens(), "pixel_values": pixels()}
    return made("CLIP", inputs, text_config=text, vision_config={**PATCHES, "patch_size": 6})


TRANSFORMER = {"embedding", "self-attention", "feedforward", "normalisation", "other"}
FAMILIES: list[tuple[Callable[[], Made], set[str]]] = [
    (llama, TRANSFORMER),
    (t5, TRANSFORMER | {"cross-attention"}),
    (whisper, TRANSFORMER | {"cross-attention"}),
    (dinov2, TRANSFORMER),
    (mixtral, TRANSFORMER | {"router"}),
    (mamba, {"embedding", "state space", "normalisation", "other"}),
    (convnext, {"embedding", "convolution", "normalisation", "other"}),
    (clip, TRANSFORMER | {"head"}),
]


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("family", "kinds"), FAMILIES, ids=[family.__name__ for family, _ in FAMILIES])
def test_little_of_a_step_is_other(family: Callable[[], Made], kinds: set[str]) -> None:
    torch.manual_seed(0)
    model, inputs = family()
    assert set(classify(model).values()) == kinds
    shares = []
    for _ in range(TRIES):
        profile = pyprof.profile(model, seconds=0.4, **inputs)
        forward, _, _ = profile.kinds()["other"]
        shares.append(forward / profile.step_seconds)
        if shares[-1] < MOST_OTHER:
            break
    assert min(shares) < MOST_OTHER, shares


def kinds_at(model: torch.nn.Module, *paths: str) -> list[str]:
    kinds = classify(model)
    return [kinds[path] for path in paths]


def tiny(name: str, suffix: str = "Model", **options: Any) -> torch.nn.Module:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 64} | options
    with torch.device("meta"):
        return made(name, {}, suffix, **small)[0]


def test_an_attention_to_another_sequence_is_cross_attention() -> None:
    layer = "decoder.block.1.layer"
    assert kinds_at(
        t5()[0], f"{layer}.0.SelfAttention.q", f"{layer}.1", f"{layer}.1.EncDecAttention.v", f"{layer}.1.layer_norm"
    ) == ["self-attention", "cross-attention", "cross-attention", "normalisation"]
    layer = "decoder.layers.0"
    assert kinds_at(whisper()[0], f"{layer}.self_attn", f"{layer}.encoder_attn.k_proj", f"{layer}.activation_fn") == [
        *("self-attention", "cross-attention", "feedforward")
    ]
    bert = tiny("Bert", is_decoder=True, add_cross_attention=True)
    layer = "encoder.layer.0"
    assert kinds_at(bert, f"{layer}.attention.self", f"{layer}.crossattention.self.query") == [
        *("self-attention", "cross-attention")
    ]
    torchs = torch.nn.TransformerDecoderLayer(8, 2)
    assert kinds_at(torchs, "", "self_attn.out_proj", "multihead_attn.out_proj", "linear1") == [
        *("other", "self-attention", "cross-attention", "feedforward")
    ]


def test_an_attention_alone_is_self_attention_whatever_it_is_called() -> None:
    block = torch.nn.Module()
    block.multihead_attn = torch.nn.MultiheadAttention(8, 2)
    block.attn2 = torch.nn.MultiheadAttention(8, 2)
    assert kinds_at(block, "multihead_attn", "attn2") == ["self-attention", "self-attention"]


def test_a_convolution_before_the_blocks_makes_tokens_and_one_in_them_is_a_convolution() -> None:
    assert kinds_at(whisper()[0], "encoder.conv1", "encoder.conv2") == ["embedding", "embedding"]
    assert kinds_at(clip()[0], "vision_model.embeddings.patch_embedding", "visual_projection") == ["embedding", "head"]
    model = convnext()[0]
    block = "encoder.stages.1.layers.0"
    assert kinds_at(
        model, "", "embeddings.patch_embeddings", f"{block}.dwconv", f"{block}.pwconv1", f"{block}.act"
    ) == [*("other", "embedding", "convolution", "convolution", "convolution")]
    assert kinds_at(model, "encoder.stages.1.downsampling_layer.1", f"{block}.layernorm") == [
        *("convolution", "normalisation")
    ]
    speech = tiny("Wav2Vec2Conformer", intermediate_size=32, conv_dim=(8,) * 7, num_conv_pos_embedding_groups=2)
    layer = "encoder.layers.0"
    assert kinds_at(
        speech, "feature_extractor.conv_layers.0.conv", f"{layer}.conv_module.pointwise_conv1", f"{layer}.ffn2"
    ) == ["embedding", "convolution", "feedforward"]


class Block(torch.nn.Module):
    """A block of the user's own that names nothing after its kind."""

    def __init__(self) -> None:
        super().__init__()
        self.local = torch.nn.Conv1d(4, 4, 3)
        self.attention = torch.nn.MultiheadAttention(4, 1)


class Hybrid(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.entry = torch.nn.Sequential(torch.nn.Conv1d(4, 4, 3), torch.nn.GELU())
        self.blocks = torch.nn.ModuleList([Block(), Block()])
        self.exit = torch.nn.Conv1d(4, 4, 3)


def test_where_a_convolution_stands_tells_what_it_is_for() -> None:
    assert kinds_at(Hybrid(), "entry", "entry.0", "entry.1", "blocks.0.local", "exit") == [
        *("embedding", "embedding", "embedding", "convolution", "convolution")
    ]


def test_a_part_of_another_kind_of_layer_is_no_convolution() -> None:
    mixer = "layers.0.mixer"
    assert kinds_at(mamba()[0], mixer, f"{mixer}.conv1d", f"{mixer}.in_proj") == ["state space"] * 3
    with torch.device("meta"):
        segformer, _ = made("Segformer", {})
    inside = [path for path, layer in segformer.named_modules() if isinstance(layer, torch.nn.Conv2d)]
    kinds = classify(segformer)
    assert {kinds[path] for path in inside} == {"embedding", "self-attention", "feedforward"}


def test_state_spaces_and_recurrences_are_told_by_what_they_are_made_of() -> None:
    mamba2 = tiny("Mamba2", num_heads=4, head_dim=16, n_groups=1, state_size=8)
    assert kinds_at(mamba2, "layers.0.mixer", "layers.0.mixer.norm") == ["state space", "normalisation"]
    experts = {"num_experts": 4, "num_key_value_heads": 2, "intermediate_size": 32, "mamba_d_state": 8}
    jamba = tiny(
        "Jamba", attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1, **experts
    )
    assert kinds_at(jamba, "layers.0.mamba.in_proj", "layers.1.self_attn", "layers.1.feed_forward.router") == [
        *("state space", "self-attention", "router")
    ]
    assert kinds_at(torch.nn.Sequential(torch.nn.LSTM(2, 2), torch.nn.GRUCell(2, 2)), "0", "1") == ["recurrence"] * 2
    rwkv = tiny("Rwkv", attention_hidden_size=32, context_length=16)
    assert kinds_at(rwkv, "blocks.0.attention", "blocks.0.attention.key", "blocks.0.feed_forward.key") == [
        *("recurrence", "recurrence", "feedforward")
    ]


def test_a_router_stands_beside_experts() -> None:
    assert kinds_at(mixtral()[0], "layers.0.mlp", "layers.0.mlp.gate", "layers.0.mlp.experts") == [
        *("feedforward", "router", "feedforward")
    ]
    gated = torch.nn.Module()
    gated.mlp = torch.nn.Module()
    gated.mlp.gate = torch.nn.Linear(2, 2)
    assert kinds_at(gated, "mlp.gate") == ["feedforward"]


def test_a_model_that_is_called_after_its_head_is_no_head() -> None:
    gpt2 = tiny("GPT2", "LMHeadModel", n_embd=32, n_layer=1, n_head=2)
    assert kinds_at(gpt2, "", "transformer.h.0", "lm_head", "transformer.h.0.mlp.c_fc") == [
        *("other", "other", "head", "feedforward")
    ]

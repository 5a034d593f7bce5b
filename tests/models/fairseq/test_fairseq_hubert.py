from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import BASE, TASK, checkpoint, fairseq_weights, hubert, old_arguments, save
from torch import nn
from transformers import HubertForCTC, HubertModel

from pyprof.errors import UsageError
from pyprof.models.checkpoint import load_directory
from pyprof.models.fairseq.checkpoint import FairseqCheckpoint, read_checkpoint
from pyprof.models.fairseq.hubert import from_fairseq, sample_mask
from pyprof.models.fairseq.names import convolutions, transformers_settings
from pyprof.models.l_hubert import LHubertForCTC, LHubertModel

SOUND = torch.randn(2, 1200, generator=torch.Generator().manual_seed(3))


def same_states(one: Any, other: Any) -> None:
    with torch.no_grad():
        found = one(SOUND, output_hidden_states=True).hidden_states
        expected = other(SOUND, output_hidden_states=True).hidden_states
    assert len(found) == len(expected) == 3
    for layer, state in zip(found, expected, strict=True):
        torch.testing.assert_close(layer, state, atol=1e-5, rtol=1e-5)


def in_memory(content: dict[str, Any], **settings: Any) -> FairseqCheckpoint:
    model = {**content["cfg"]["model"], **settings}
    return FairseqCheckpoint("x.pt", {"model": model, "task": TASK}, content["model"], "as data")


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_a_file_becomes_the_same_model(tmp_path: Path, large: bool) -> None:
    expected = hubert(large)
    path = save(checkpoint(expected), tmp_path / "hubert.pt")
    full = from_fairseq(path, None)
    assert type(full) is HubertModel
    assert not full.training
    same_states(full, expected)
    wide = from_fairseq(str(path), 1000)
    assert type(wide) is LHubertModel
    wide.set_attn_implementation("chunks")
    same_states(wide, expected)
    narrow = from_fairseq(read_checkpoint(path), window=[(1, 2), (3, 4)])
    assert narrow.config.window == ((1, 2), (3, 4))
    assert from_fairseq(path).config.window == (16, 16)
    # Nothing of the file is kept mapped into the model.
    path.unlink()
    same_states(full, expected)


def test_settings_are_carried_over() -> None:
    config = from_fairseq(in_memory(checkpoint(hubert()), encoder_layerdrop=0.05, attention_dropout=0.2), None).config
    assert (config.layerdrop, config.attention_dropout, config.hidden_dropout) == (0.05, 0.2, 0.1)
    # A pretrained model was masked by its task, which is not what training transformers' class should do unasked.
    assert (config.mask_time_prob, config.apply_spec_augment) == (0.8, False)
    assert (config.conv_kernel, config.conv_stride) == ((10, 3, 3), (5, 2, 2))


def test_half_precision_files_are_computed_in_float32() -> None:
    content = checkpoint(hubert())
    content["model"] = {name: tensor.half() for name, tensor in content["model"].items()}
    model = from_fairseq(in_memory(content), None)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not any(parameter.is_meta for parameter in [*model.parameters(), *model.buffers()])


@pytest.mark.parametrize("arguments", [False, True], ids=["configuration", "arguments"])
def test_a_fine_tuned_model(tmp_path: Path, arguments: bool) -> None:
    expected = hubert(vocab_size=9)
    own = {"_name": "hubert_ctc", "final_dropout": 0.3, "layerdrop": 0.2, "apply_mask": True, "mask_prob": 0.5}
    body: Any = old_arguments(BASE) if arguments else {"model": BASE, "task": TASK}
    weights = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in fairseq_weights(expected.hubert).items()}
    weights |= {f"w2v_encoder.proj.{name}": tensor for name, tensor in expected.lm_head.state_dict().items()}
    content = {"cfg": {"model": {**own, "w2v_args": body}, "task": {"_name": "audio_finetuning"}}, "model": weights}
    path = save(content, tmp_path / "ctc.pt")
    found = from_fairseq(path, None)
    assert type(found) is HubertForCTC
    with torch.no_grad():
        torch.testing.assert_close(found(SOUND).logits, expected(SOUND).logits)
    config = found.config
    assert (config.final_dropout, config.layerdrop, config.hidden_dropout) == (0.3, 0.2, 0.1)
    assert (config.apply_spec_augment, config.mask_time_prob, config.vocab_size) == (True, 0.5, 9)
    assert type(from_fairseq(path)) is LHubertForCTC
    module, _, notes = load_directory(str(path), "eager")
    assert (type(module), notes) == (HubertForCTC, ("measured as HubertForCTC",))
    assert type(load_directory(str(path), "eager", base_model=True)[0]) is HubertModel
    weights["w2v_encoder.extra"] = torch.zeros(1)
    with pytest.raises(UsageError, match="1 weights that no HuBERT has: extra"):
        from_fairseq(save(content, path))
    del weights["w2v_encoder.extra"]
    with pytest.raises(UsageError, match=r"does not hold the settings .* only its place ./pretrained\.pt"):
        from_fairseq(save({**content, "cfg": {"model": {**own, "w2v_path": "/pretrained.pt"}}}, path))


def test_every_form_of_weight_normalisation() -> None:
    expected = hubert()
    content = checkpoint(expected)
    old = content["model"]
    prefix = "encoder.pos_conv.0."
    newer = {name.replace("weight_g", "parametrizations.weight.original0"): tensor for name, tensor in old.items()}
    newer = {name.replace("weight_v", "parametrizations.weight.original1"): tensor for name, tensor in newer.items()}
    assert newer.keys() != old.keys()
    folded = {name: tensor for name, tensor in old.items() if not name.startswith(prefix + "weight")}
    folded[prefix + "weight"] = expected.encoder.pos_conv_embed.conv.weight.detach()
    for weights in (newer, folded):
        same_states(from_fairseq(in_memory({**content, "model": weights}), None), expected)


def test_a_position_convolution_behind_batch_normalisation() -> None:
    expected = hubert(conv_pos_batch_norm=True)
    content = checkpoint(expected)
    weights = {}
    for name, tensor in content["model"].items():
        name = name.replace("encoder.pos_conv.0.", "encoder.pos_conv.1.")
        name = name.replace("encoder.pos_conv_embed.conv.", "encoder.pos_conv.1.")
        weights[name.replace("encoder.pos_conv_embed.batch_norm.", "encoder.pos_conv.0.")] = tensor
    made = in_memory({**content, "model": weights}, conv_pos_batch_norm=True)
    same_states(from_fairseq(made, None), expected)


def test_a_model_without_projection_gets_one_that_changes_nothing() -> None:
    expected = hubert()
    content = checkpoint(expected)
    for name in ("weight", "bias"):
        del content["model"][f"post_extract_proj.{name}"]
    with pytest.raises(UsageError, match=r"2 are missing: feature_projection\.projection\.bias, feature_"):
        from_fairseq(in_memory(content))
    # As wide as the encoder, so that fairseq leaves the projection out.
    weights = {name: tensor for name, tensor in content["model"].items() if not name.startswith("feature_extractor")}
    weights |= {f"layer_norm.{name}": torch.rand(32) for name in ("weight", "bias")}
    for name, shape in (("0.0.weight", (32, 1, 10)), ("0.2.weight", (32,)), ("0.2.bias", (32,))):
        weights[f"feature_extractor.conv_layers.{name}"] = torch.rand(shape)
    for layer in (1, 2):
        weights[f"feature_extractor.conv_layers.{layer}.0.weight"] = torch.rand(32, 32, 3)
    text = "[(32,10,5)] + [(32,3,2)] * 2"
    found = from_fairseq(in_memory({**content, "model": weights}, conv_feature_layers=text), None)
    projection = found.feature_projection.projection
    x = torch.randn(5, 32)
    assert torch.equal(projection(x), x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_type": "conformer"}, "'conformer' layers has no counterpart"),
        ({"activation_fn": "relu_squared"}, "activation_fn is 'relu_squared', which cannot be converted: only relu,"),
        ({"extractor_mode": "other"}, "extractor_mode is 'other'"),
        ({"encoder_layers": "two"}, "encoder_layers is 'two' and not of the type int"),
        ({"encoder_layers": 2.5}, r"encoder_layers is 2.5 and not of the type int"),
        ({"conv_feature_layers": "__import__('os').system('true')"}, "no list of .channels, kernel, stride."),
        ({"conv_feature_layers": "[(1,1,1)] * 10 ** 9"}, "no list of"),
        ({"conv_feature_layers": "[(1,1,1)] * 1000000000"}, "no list of"),
        ({"encoder_attention_heads": 5}, "transformers cannot build the model"),
        ({"encoder_layers": 3}, r"names 16 are missing: encoder\.layers\.2\."),
        ({"encoder_layers": 1}, r"names 16 are more: encoder\.layers\.1\."),
        ({"encoder_ffn_embed_dim": 64}, r"intermediate_dense\.weight has shape \(48, 32\), not \(64, 32\)"),
        ({"_name": "wav2vec2"}, "a model of the kind 'wav2vec2': give a HuBERT"),
    ],
)
def test_what_cannot_be_converted(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        from_fairseq(in_memory(checkpoint(hubert()), **change))
    assert "\n" not in str(caught.value)


def test_unknown_weights_are_all_listed() -> None:
    content = checkpoint(hubert())
    for name in ("quantizer.vars", "encoder.layers.0.self_attn.bias_k", "encoder.layers.0.fc3.weight"):
        content["model"][name] = torch.zeros(1)
    with pytest.raises(UsageError, match=r"3 weights .*: encoder\S*fc3\.weight, encoder\S*bias_k, quantizer\.vars$"):
        from_fairseq(in_memory(content))
    content["model"] = {"encoder.w2v_model.mask_emb": torch.zeros(1)}
    with pytest.raises(UsageError, match="sequence-to-sequence"):
        from_fairseq(in_memory(content))
    with pytest.raises(UsageError, match="Linear is no HuBERT of fairseq's"):
        from_fairseq(nn.Linear(1, 1))
    with pytest.raises(UsageError, match="are no dict"):
        from_fairseq(FairseqCheckpoint("x.pt", {"model": "text"}, {}, "as data"))


def test_convolutions_of_fairseqs_text() -> None:
    assert convolutions("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2") == [
        (512, 10, 5),
        *[(512, 3, 2)] * 4,
        *[(512, 2, 2)] * 2,
    ]
    for text in ("[]", "[(1, 2)]", "[(1, 2, 0)]", "(1, 2, 3)", "[(1, 2, 3.5)]", "[x]", "(", "[(1,1,1)] * [2]", "1 + 1"):
        with pytest.raises(UsageError, match="no list of"):
            convolutions(text)


def test_activations_are_the_same_functions() -> None:
    from transformers.activations import ACT2FN

    x = torch.linspace(-4, 4, 101)
    expected = {
        "relu": x.clamp(min=0),
        "gelu": x * 0.5 * (1 + torch.erf(x / 2**0.5)),
        "gelu_accurate": 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
        "tanh": x.tanh(),
        "linear": x,
    }
    expected["gelu_fast"] = expected["gelu_accurate"]
    for name, values in expected.items():
        theirs = transformers_settings({**BASE, "activation_fn": name})["hidden_act"]
        torch.testing.assert_close(ACT2FN[theirs](x), values)


def test_a_frozen_extractor_stays_frozen() -> None:
    model = from_fairseq(in_memory(checkpoint(hubert()), feature_grad_mult=0.0)).train()
    model.set_attn_implementation("chunks")
    model(SOUND).last_hidden_state.sum().backward()
    assert all(parameter.grad is None for parameter in model.feature_extractor.parameters())
    assert model.feature_projection.projection.weight.grad is not None


def test_the_mask_over_samples_gives_fairseqs_frames() -> None:
    model = hubert()
    samples = 1203
    frames = model._get_feat_extract_output_lengths(samples)
    lengths = torch.arange(1, samples + 1)
    mask = sample_mask(torch.arange(samples) >= lengths[:, None], model.config)
    found = model._get_feature_vector_attention_mask(frames, mask).sum(dim=1)
    # fairseq cuts what does not divide evenly, and keeps a frame if any of its share of the samples is there.
    share = samples // frames
    whole = torch.arange(share * frames) < lengths[:, None]
    assert torch.equal(found, whole.view(samples, frames, share).any(-1).sum(-1))
    for bad in (torch.ones(1, samples), torch.arange(samples)[None] < 5):
        with pytest.raises(UsageError, match="then true to the end"):
            sample_mask(bad.bool(), model.config)


def test_namespaces_count_as_settings(tmp_path: Path) -> None:
    content = {**checkpoint(hubert()), "cfg": None, "args": old_arguments(BASE)}
    same_states(from_fairseq(save(content, tmp_path / "old.pt"), None), hubert())
    content["args"] = argparse.Namespace(arch="wav2vec_ctc")
    with pytest.raises(UsageError, match="of the kind 'wav2vec_ctc'"):
        from_fairseq(save(content, tmp_path / "old.pt"))

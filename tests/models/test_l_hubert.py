from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCTC, HubertForCTC, HubertModel

from pyprof.errors import UsageError
from pyprof.models.l_hubert import LHubertConfig, LHubertForCTC, LHubertModel, from_hubert
from pyprof.models.speech import hubert_config

BASE: dict[str, Any] = {"mask_time_length": 2}
# HuBERT large and extra large normalise before each layer, and every convolution by itself.
LARGE: dict[str, Any] = {**BASE, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
QUIET = {"hidden_dropout": 0.0, "activation_dropout": 0.0, "attention_dropout": 0.0, "layerdrop": 0.0}
SAMPLES = 16_080  # 50 frames
IMPLEMENTATIONS = ("fused", "chunks", "flex", "sdpa-mask")


def hubert(kind: Any = HubertModel, *, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    model = kind(hubert_config("tiny", **{**BASE, **options})).eval()
    with torch.no_grad():
        # The usual deviation of 0.02 makes attention almost uniform, and a window hard to see.
        for name, parameter in model.named_parameters():
            if ".attention." in name and parameter.dim() == 2:
                parameter.mul_(10.0)
    return model


def waveform(batch: int = 2, samples: int = SAMPLES) -> Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(1))


def run(model: Any, *args: Any, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(*args, **kwargs)[0]
    return found


@pytest.mark.parametrize("options", [BASE, LARGE, {"conv_pos_batch_norm": True}], ids=["base", "large", "batch-norm"])
@pytest.mark.parametrize("kind", [HubertModel, HubertForCTC])
def test_a_context_of_twice_the_length_reproduces_hubert(kind: Any, options: dict[str, Any]) -> None:
    dense = hubert(kind, **options)
    wide, narrow = from_hubert(dense, 100), from_hubert(dense, 8)
    assert type(wide) is {HubertModel: LHubertModel, HubertForCTC: LHubertForCTC}[kind]
    weights, carried = dense.state_dict(), wide.state_dict()
    assert weights.keys() == carried.keys()
    assert all(torch.equal(weights[name], carried[name]) for name in weights)
    assert not {weight.data_ptr() for weight in weights.values()} & {weight.data_ptr() for weight in carried.values()}
    expected = run(dense, waveform())
    torch.testing.assert_close(run(wide, waveform()), expected, atol=1e-5, rtol=0)
    assert (run(narrow, waveform()) - expected).abs().max() > 1e-3
    assert (wide.config._attn_implementation, dense.config._attn_implementation) == ("fused", "sdpa")


def test_dtype_mode_and_frozen_parts_are_carried() -> None:
    dense = hubert(HubertForCTC).to(torch.bfloat16).train()
    dense.freeze_feature_encoder()
    local = from_hubert(dense)
    assert local.training
    assert {parameter.dtype for parameter in local.parameters()} == {torch.bfloat16}
    frozen = [[name for name, each in model.named_parameters() if not each.requires_grad] for model in (dense, local)]
    assert frozen[0] == frozen[1] != []
    assert not local.get_submodule("hubert.feature_extractor")._requires_grad
    local(waveform().bfloat16()).logits.sum().backward()


def test_a_local_directory_is_converted(tmp_path: Path) -> None:
    for kind, made in ((HubertModel, LHubertModel), (HubertForCTC, LHubertForCTC)):
        dense = hubert(kind)
        dense.save_pretrained(tmp_path / kind.__name__)
        local = from_hubert(tmp_path / kind.__name__, context=100)
        assert type(local) is made
        assert not local.training
        torch.testing.assert_close(run(local, waveform()), run(dense, waveform()), atol=1e-5, rtol=0)


def test_what_is_no_hubert_is_refused(tmp_path: Path) -> None:
    local = from_hubert(hubert())
    with pytest.raises(UsageError, match="of a HubertModel or a HubertForCTC, not of LHubertModel"):
        from_hubert(local)
    with pytest.raises(UsageError, match="is no local transformers checkpoint"):
        from_hubert(tmp_path)
    local.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="is an L-HuBERT already"):
        from_hubert(tmp_path)
    for options, message in (
        ({"context": 31}, "a context is an even number"),
        ({"window": (3, -1)}, "a window is a pair"),
        ({"window": [(3, 1)]}, "there are 1 windows for 2 layers"),
    ):
        with pytest.raises(UsageError, match=message):
            from_hubert(hubert(), **options)
    with pytest.raises(UsageError, match="HubertConfig has no window"):
        LHubertModel(hubert_config("tiny"))


@pytest.mark.parametrize("window", [(16, 16), (3, 0), ((2, 2), (5, 5))])
def test_saved_and_loaded_by_the_auto_classes(tmp_path: Path, window: Any) -> None:
    local = from_hubert(hubert(HubertForCTC), window=window)
    local.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (type(config), config.model_type, config.window) == (LHubertConfig, "l_hubert", window)
    again = AutoModelForCTC.from_pretrained(tmp_path)
    assert (type(again), again.config._attn_implementation) == (LHubertForCTC, "fused")
    assert torch.equal(run(again, waveform()), run(local, waveform()))
    encoder = AutoModel.from_pretrained(tmp_path, attn_implementation="sdpa-mask")
    assert (type(encoder), encoder.config._attn_implementation) == (LHubertModel, "sdpa-mask")
    torch.testing.assert_close(run(encoder, waveform()), run(local.hubert, waveform()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["eager", "sdpa", "flex_attention"])
def test_attention_that_knows_no_window_is_refused(tmp_path: Path, name: str) -> None:
    local = from_hubert(hubert())
    local.save_pretrained(tmp_path)
    for ask in (
        lambda: local.set_attn_implementation(name),
        lambda: AutoModel.from_config(local.config, attn_implementation=name),
        lambda: AutoModel.from_pretrained(tmp_path, attn_implementation=name),
        lambda: setattr(local.config, "_attn_implementation", name),
    ):
        with pytest.raises(UsageError, match=f"cannot run on attention implementation '{name}'.*choose from fused, ch"):
            ask()
    assert local.config._attn_implementation == "fused"
    with pytest.raises(UsageError, match="never forms attention weights"):
        local(waveform(), output_attentions=True)


def with_implementation(dense: Any, name: str) -> Any:
    local = from_hubert(dense, 8)
    local.set_attn_implementation(name)
    return local


@pytest.mark.parametrize("name", ["fused", "chunks"])
def test_implementations_agree_and_so_do_their_gradients(name: str) -> None:
    dense = hubert()
    upstream = torch.randn(2, 50, 32)
    results = []
    for model in (with_implementation(dense, name), with_implementation(dense, "sdpa-mask")):
        hidden = model(waveform()).last_hidden_state
        hidden.backward(upstream)
        results.append([hidden.detach(), *(each.grad for each in model.parameters() if each.grad is not None)])
    assert len(results[0]) > 50
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, atol=2e-4, rtol=1e-3)


@pytest.mark.slow  # FlexAttention is compiled, which takes seconds.
def test_flex_agrees() -> None:
    dense = hubert()
    ours, reference = (run(with_implementation(dense, name), waveform()) for name in ("flex", "sdpa-mask"))
    torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)


def test_every_layer_has_the_window_that_is_its_own() -> None:
    local: Any = from_hubert(hubert(), window=[(1, 0), (2, 1)])
    hidden = torch.randn(1, 12, 32, requires_grad=True)
    state = hidden
    for layer in local.encoder.layers:
        state = layer(state)
    for query in range(12):
        (gradient,) = torch.autograd.grad(state[0, query].square().sum(), hidden, retain_graph=True)
        reached = gradient[0].abs().sum(dim=-1).nonzero().flatten().tolist()
        assert reached == list(range(max(query - 3, 0), min(query + 1, 11) + 1)), query


@pytest.mark.parametrize("name", [name for name in IMPLEMENTATIONS if name != "flex"])
def test_padding_on_the_right_changes_nothing(name: str) -> None:
    local = from_hubert(hubert(HubertForCTC, **LARGE), 8)
    local.set_attn_implementation(name)
    lengths = (SAMPLES, 6_000, 400)
    mask = torch.arange(SAMPLES)[None] < torch.tensor(lengths)[:, None]
    batch = waveform(3) * mask
    found = run(local, batch, attention_mask=mask.long())
    for index, length in enumerate(lengths):
        alone = run(local, batch[index : index + 1, :length])
        torch.testing.assert_close(found[index : index + 1, : alone.shape[1]], alone, atol=1e-4, rtol=1e-4)


def test_padding_is_hubert_s_own_where_the_window_is_wide() -> None:
    dense = hubert()
    mask = torch.arange(SAMPLES)[None] < torch.tensor([SAMPLES, 9_000])[:, None]
    ours, theirs = (run(model, waveform(), attention_mask=mask) for model in (from_hubert(dense, 100), dense))
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours[1, :27], theirs[1, :27], atol=1e-5, rtol=0)


def test_other_padding_is_refused() -> None:
    local = from_hubert(hubert(HubertForCTC))
    right = torch.arange(SAMPLES)[None].expand(2, -1) < 9_000
    for mask in (right.flip(-1), right.roll(1, dims=-1)):
        with pytest.raises(UsageError, match="padding on the right only"):
            local(waveform(), attention_mask=mask)
    with pytest.raises(UsageError, match="has 399 samples, fewer than the 400 of one frame"):
        local(waveform(), attention_mask=(torch.arange(SAMPLES)[None] < torch.tensor([[SAMPLES], [399]])).int())


def test_training_masks_and_drops_as_hubert_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    dense = hubert(**QUIET, mask_time_prob=0.5)
    found = []
    for model in (dense.train(), from_hubert(dense, 100)):
        np.random.seed(0)
        hidden = model(waveform()).last_hidden_state
        hidden.sum().backward()
        found.append((hidden.detach(), model.masked_spec_embed.grad))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-3, rtol=1e-3)
    np.random.seed(1)
    assert (dense(waveform()).last_hidden_state - found[0][0]).abs().max() > 0.1


@pytest.mark.parametrize("frames", [1, 2, 9])
@pytest.mark.parametrize("mask_time_prob", [0.5, 0.0])
def test_inputs_shorter_than_a_masked_span_are_trained_on_unmasked(frames: int, mask_time_prob: float) -> None:
    options = {**QUIET, "mask_time_length": 10, "mask_time_prob": mask_time_prob}
    local = from_hubert(hubert(**options), 4)
    waves = waveform(2, 400 + 320 * (frames - 1))
    expected = run(local, waves)
    assert expected.shape[1] == frames
    hidden = local.train()(waves).last_hidden_state
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
    hidden.square().mean().backward()


def test_a_short_input_has_its_features_masked_and_its_loss_all_the_same() -> None:
    features = from_hubert(hubert(**QUIET, mask_feature_prob=0.9, mask_feature_length=2), 4)
    waves = waveform(2, 400 + 320 * 4)
    expected = run(features, waves)
    features.config.mask_time_length = 10
    assert (run(features.train(), waves) - expected).abs().max() > 0.01
    recognise = from_hubert(
        hubert(HubertForCTC, **QUIET, final_dropout=0.0, mask_time_length=10, vocab_size=12), 4
    ).train()
    loss = recognise(waves, labels=torch.tensor([[3], [4]])).loss
    torch.testing.assert_close(loss, recognise.eval()(waves, labels=torch.tensor([[3], [4]])).loss)


def test_dropout_of_attention_weights_is_repeatable() -> None:
    local = from_hubert(hubert(hidden_dropout=0.0, activation_dropout=0.0, layerdrop=0.0, mask_time_prob=0.0)).train()
    first, second, third = (
        (torch.manual_seed(seed), local(waveform()).last_hidden_state.detach())[1] for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert (first - third).abs().max() > 1e-3


@pytest.mark.parametrize("options", [BASE, LARGE], ids=["base", "large"])
def test_gradient_checkpointing_gives_the_same_gradients(options: dict[str, Any]) -> None:
    dense = hubert(HubertForCTC, layerdrop=0.0, mask_time_prob=0.0, **options)
    gradients = []
    for checkpointing in (False, True):
        local = from_hubert(dense, 8).train()
        if checkpointing:
            local.gradient_checkpointing_enable()
        torch.manual_seed(0)
        local(waveform(), labels=torch.ones(2, 4, dtype=torch.long)).loss.backward()
        gradients.append({name: each.grad for name, each in local.named_parameters() if each.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)


def test_the_layers_are_one_graph_forward_and_backward() -> None:
    layers = torch.nn.Sequential(*from_hubert(hubert(**LARGE), 8).get_submodule("encoder.layers"))
    hidden = torch.randn(2, 50, 32)
    traced = torch.compile(layers, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(traced(hidden), layers(hidden))
    gradients = [
        torch.autograd.grad(model(hidden).square().sum(), [*layers.parameters()]) for model in (traced, layers)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.slow  # Tracing all of transformers' model takes tens of seconds.
def test_a_whole_model_is_one_graph_with_padding() -> None:
    local = from_hubert(hubert(**LARGE), 8)
    mask = torch.arange(SAMPLES)[None] < torch.tensor([SAMPLES, 9_000])[:, None]
    whole = torch.compile(local, backend="eager", fullgraph=True)
    torch.testing.assert_close(run(whole, waveform()), run(local, waveform()))
    torch.testing.assert_close(run(whole, waveform(), attention_mask=mask), run(local, waveform(), attention_mask=mask))
    with pytest.raises(RuntimeError, match="padding on the right only"):
        run(whole, waveform(), attention_mask=mask.flip(-1))


@pytest.mark.parametrize("name", ["fused", "chunks", "sdpa-mask"])
def test_bfloat16(name: str) -> None:
    dense = hubert().to(torch.bfloat16)
    local, masked, narrower = (from_hubert(dense, context) for context in (8, 8, 6))
    local.set_attn_implementation(name)
    masked.set_attn_implementation("sdpa-mask")
    found, expected, other = (run(model, waveform().bfloat16()) for model in (local, masked, narrower))
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().mean() < 0.02 < (other - expected).abs().mean()


@pytest.mark.slow
def test_the_base_size_reproduces_hubert_and_its_implementations_agree() -> None:
    torch.manual_seed(0)
    dense = HubertModel(hubert_config("base")).eval()
    expected = run(dense, waveform(1))
    torch.testing.assert_close(run(from_hubert(dense, 100), waveform(1)), expected, atol=1e-5, rtol=0)
    local: Any = from_hubert(dense, 32)
    found = {}
    for name in IMPLEMENTATIONS:
        local.set_attn_implementation(name)
        found[name] = run(local, waveform(1))
    assert (found["fused"] - expected).abs().max() > 1e-4
    for name in IMPLEMENTATIONS:
        torch.testing.assert_close(found[name], found["sdpa-mask"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [HubertModel, HubertForCTC])
def test_each_module_keeps_its_mode_and_the_random_state_is_given_back(kind: Any, tmp_path: Path) -> None:
    dense = hubert(kind, conv_pos_batch_norm=True).train()
    body = dense if kind is HubertModel else dense.hubert
    body.encoder.pos_conv_embed.eval()  # a frozen batch normalisation
    body.encoder.layers[0].dropout.eval()
    modes = {name: module.training for name, module in dense.named_modules()}
    state, drawn = torch.get_rng_state(), (random.getstate(), np.random.get_state()[1].tolist())
    local = from_hubert(dense)
    assert {name: module.training for name, module in local.named_modules()} == modes
    assert {name: module.training for name, module in dense.named_modules()} == modes
    dense.save_pretrained(tmp_path)
    from_hubert(tmp_path)
    with pytest.raises(UsageError):
        from_hubert(dense, window=(1, 2, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == drawn

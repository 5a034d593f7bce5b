"""Against the real fairseq, where it is installed: the extra `fairseq` has the fork that works."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq_files import BASE, LARGE, TASK, randomise, save
from torch import Tensor
from transformers import HubertForCTC, HubertModel

from pyprof.models.fairseq.checkpoint import read_checkpoint
from pyprof.models.fairseq.hubert import from_fairseq, sample_mask, to_window_attention
from pyprof.models.l_hubert import LHubertForCTC

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("fairseq") is None, reason="fairseq is not installed: it is the extra `fairseq`"
)

Build = Callable[..., Any]
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {key: LARGE[key] for key in ("extractor_mode", "layer_norm_first", "conv_bias")},
    "odd-positions": {"conv_pos": 15},
    "batch-norm": {"conv_pos_batch_norm": True},
    "no-projection": {"conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 2"},
    "tanh-gelu": {"activation_fn": "gelu_accurate"},
}
STILL = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop"), 0.0)
SOUND = torch.randn(2, 1203, generator=torch.Generator().manual_seed(3))
PADDED = torch.arange(1203) >= torch.tensor([[1203], [800]])


@pytest.fixture(scope="module")
def fairseq() -> Any:
    """The package; importing it configures logging, the environment and Python's random numbers: all are put back."""
    root, state, environment = logging.getLogger(), random.getstate(), set(os.environ)
    handlers, level = list(root.handlers), root.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = importlib.import_module("fairseq")
        hubert, tasks = (
            importlib.import_module(f"fairseq.{name}") for name in ("models.hubert", "tasks.hubert_pretraining")
        )
    root.handlers[:] = handlers
    root.setLevel(level)
    random.setstate(state)
    for name in set(os.environ) - environment:
        del os.environ[name]
    return SimpleNamespace(package=package, hubert=hubert, tasks=tasks, environment=environment)


@pytest.fixture
def build(fairseq: Any) -> Build:
    """Makes a tiny HubertModel of fairseq's, in eval mode, no weight of which is one or zero."""

    def make(**settings: Any) -> Any:
        wanted = {key: value for key, value in (BASE | settings).items() if key != "_name"}
        task = fairseq.tasks.HubertPretrainingConfig(data="nowhere", sample_rate=16000)
        dictionary = importlib.import_module("fairseq.data").Dictionary()
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model = fairseq.hubert.HubertModel(fairseq.hubert.HubertConfig(**wanted), task, [dictionary])
        randomise(model)
        return model.eval()

    return make


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def close_gradients(found: Tensor, expected: Tensor) -> None:
    """Gradients of one weight are sums of terms of about the size of the largest of them."""
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-5)


def same_features(ours: Any, theirs: Any) -> None:
    """The last features, and those of every layer, of a transformers model and of one of fairseq's."""
    with torch.no_grad():
        found = ours(SOUND, output_hidden_states=True)
        close(found.last_hidden_state, theirs.extract_features(SOUND, mask=False)[0])
        layers = len(theirs.encoder.layers)
        # A last normalisation behind the layers belongs to the model in fairseq, to the last state in transformers.
        for layer in range(1, layers if theirs.encoder.layer_norm_first else layers + 1):
            close(found.hidden_states[layer], theirs.extract_features(SOUND, mask=False, output_layer=layer)[0])


def same_padded_features(ours: Any, theirs: Any) -> None:
    with torch.no_grad():
        expected, padded = theirs.extract_features(SOUND, padding_mask=PADDED, mask=False)
        found = ours(SOUND, attention_mask=sample_mask(PADDED, ours.config)).last_hidden_state
    assert 0 < int(padded.sum()) < padded.shape[1]
    close(found[~padded], expected[~padded])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_live_model_converts_with_equal_outputs(build: Build, variant: str) -> None:
    theirs = build(**VARIANTS[variant])
    ours = from_fairseq(theirs, None)
    assert type(ours) is HubertModel
    same_features(ours, theirs)
    same_padded_features(ours, theirs)
    assert ours.config.mask_time_prob == 0.8


@pytest.mark.parametrize("variant", ["base", "large"])
def test_in_place_and_converted_are_the_same_l_hubert(build: Build, variant: str) -> None:
    theirs = build(**VARIANTS[variant])
    dense = theirs.extract_features(SOUND)[0]
    ours = from_fairseq(theirs, 8)
    with to_window_attention(theirs, 8):
        same_features(ours, theirs)
        same_padded_features(ours, theirs)
        assert (theirs.extract_features(SOUND)[0] - dense).abs().max() > 1e-3
    assert torch.equal(theirs.extract_features(SOUND)[0], dense)
    with to_window_attention(theirs, 1000):
        close(theirs.extract_features(SOUND)[0], dense)


@pytest.mark.parametrize("kernels", [("reference", "chunks"), ("auto", "fused")], ids="-".join)
@pytest.mark.parametrize("variant", ["base", "large"])
def test_training_gives_the_same_gradients(build: Build, variant: str, kernels: tuple[str, str]) -> None:
    theirs = build(**VARIANTS[variant], **STILL).train()
    names = list(theirs.state_dict())
    ours = from_fairseq(theirs, 8)
    assert ours.training
    ours.set_attn_implementation(kernels[1])
    to_window_attention(theirs, 8, impl=kernels[0])
    expected, padded = theirs.extract_features(SOUND, padding_mask=PADDED, mask=False)
    expected[~padded].square().mean().backward()
    found = ours(SOUND, attention_mask=sample_mask(PADDED, ours.config)).last_hidden_state
    close(found[~padded], expected[~padded])
    found[~padded].square().mean().backward()
    assert list(theirs.state_dict()) == names
    for one, other in zip(theirs.encoder.layers, ours.encoder.layers, strict=True):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            close_gradients(getattr(other.attention, name).weight.grad, getattr(one.self_attn, name).weight.grad)
    first, same = ours.feature_extractor.conv_layers[0].conv, theirs.feature_extractor.conv_layers[0][0]
    close_gradients(first.weight.grad, same.weight.grad)


def test_pretraining_runs_in_place(build: Build) -> None:
    theirs = build().train()
    to_window_attention(theirs, 8)
    targets = [torch.zeros(2, 57, dtype=torch.long)]
    result = theirs(SOUND, target_list=targets, padding_mask=PADDED, mask=True)
    sum(logits.float().logsumexp(-1).sum() for logits in result["logit_m_list"]).backward()
    assert theirs.encoder.layers[0].self_attn.q_proj.weight.grad.abs().max() > 0


def test_frozen_weights_stay_frozen_and_types_stay(build: Build) -> None:
    theirs = build(feature_grad_mult=0.0).double()
    theirs.encoder.layers[0].self_attn.q_proj.weight.requires_grad_(False)
    ours = from_fairseq(theirs, None)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float64}
    frozen = {name for name, parameter in ours.named_parameters() if not parameter.requires_grad}
    assert "encoder.layers.0.attention.q_proj.weight" in frozen
    assert all(name in frozen for name, _ in ours.named_parameters() if name.startswith("feature_extractor"))
    with torch.no_grad():
        ours.encoder.layers[0].attention.q_proj.bias.zero_()
    assert theirs.encoder.layers[0].self_attn.q_proj.bias.abs().max() > 0


@pytest.mark.parametrize("wrapped", [False, True], ids=["container", "omegaconf"])
def test_a_file_with_fairseqs_own_classes(fairseq: Any, build: Build, tmp_path: Path, wrapped: bool) -> None:
    theirs = build(**VARIANTS["large"])
    omegaconf = importlib.import_module("omegaconf")
    settings = omegaconf.OmegaConf.structured(fairseq.hubert.HubertConfig(**LARGE))
    plain = omegaconf.OmegaConf.to_container(settings, resolve=True, enum_to_str=True)
    made: Any = {"model": plain, "task": TASK}
    dictionary = importlib.import_module("fairseq.data").Dictionary()
    content = {
        "args": None,
        "cfg": omegaconf.OmegaConf.create(made) if wrapped else made,
        "model": theirs.state_dict(),
        "task_state": {"dictionaries": [dictionary]},
    }
    path = save(content, tmp_path / "theirs.pt")
    found = read_checkpoint(path)
    assert found.reading == "as data"
    assert "fairseq.data.dictionary.Dictionary" in found.not_imported
    trusted = read_checkpoint(path, trust_pickle=True)
    assert trusted.settings == found.settings
    same_features(from_fairseq(found, None), theirs)


def test_a_fine_tuned_model(fairseq: Any, build: Build, tmp_path: Path) -> None:
    asr = importlib.import_module("fairseq.models.hubert.hubert_asr")
    body = build()
    body.remove_pretraining_modules()
    del body.label_embs_concat
    # fairseq builds one from files of data and dictionaries; only what is converted is needed here.
    encoder = asr.HubertEncoder.__new__(asr.HubertEncoder)
    torch.nn.Module.__init__(encoder)
    encoder.apply_mask, encoder.w2v_model, encoder.proj = True, body, torch.nn.Linear(32, 9)
    encoder.final_dropout, encoder.freeze_finetune_updates, encoder.num_updates = torch.nn.Dropout(0.3), 0, 0
    model = asr.HubertCtc(asr.HubertCtcConfig(), encoder).eval()
    with torch.no_grad():
        expected = model(source=SOUND, padding_mask=None)["encoder_out"].transpose(0, 1)
        live = from_fairseq(model, None)
        close(live(SOUND).logits, expected)
        assert (type(live), live.config.final_dropout, live.config.apply_spec_augment) == (HubertForCTC, 0.3, True)
        settings = {"_name": "hubert_ctc", "apply_mask": True, "w2v_args": {"model": BASE, "task": TASK}}
        content = {"cfg": {"model": settings, "task": {}}, "model": model.state_dict()}
        close(from_fairseq(save(content, tmp_path / "ctc.pt"), None)(SOUND).logits, expected)
        model.w2v_encoder.proj.bias.requires_grad_(False)
        with to_window_attention(model, 8):
            local = model(source=SOUND, padding_mask=None)["encoder_out"].transpose(0, 1)
        converted = from_fairseq(model, 8)
        assert type(converted) is LHubertForCTC
        close(converted(SOUND).logits, local)
        assert [name for name, weight in converted.named_parameters() if not weight.requires_grad] == ["lm_head.bias"]


def test_importing_fairseq_leaves_the_process_as_it_was(fairseq: Any) -> None:
    assert fairseq.package.__name__ == "fairseq"
    # torch's compiler, in a test before, sets it too.
    assert ("KMP_DUPLICATE_LIB_OK" in os.environ) == ("KMP_DUPLICATE_LIB_OK" in fairseq.environment)
    assert logging.getLogger().level != logging.DEBUG

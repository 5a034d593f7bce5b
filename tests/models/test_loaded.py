from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from transformers.models.nystromformer.modeling_nystromformer import NystromformerSelfAttention

from pyprof.errors import UsageError
from pyprof.layers.kinds import classify
from pyprof.models.loaded import LoadedModel
from pyprof.models.registry import ENTRIES, Entry, load

PAIRS = [(one, attention) for one in ENTRIES for attention in one.attentions]
# FlexAttention is compiled for every length, which takes seconds.
CASES = [
    pytest.param(one, name, id=f"{one.name}-{name}", marks=[pytest.mark.slow] if name == "flex" else [])
    for one, name in PAIRS
]
TRAINED = [pytest.param(one, name, id=f"{one.name}-{name}") for one, name in PAIRS if name != "flex"]


def tiny(name: str, **options: Any) -> LoadedModel:
    asked = {"attention": "then", "mode": "infer", "longest": 256, "size": "tiny", **options}
    return load(name, **asked)


def run(model: LoadedModel, length: int, batch: int = 1) -> Any:
    model.fit(length)
    args, kwargs = model.inputs(length, batch)
    return model.step(*args, **kwargs)


def outputs_at(one: Entry, length: int) -> int:
    """How many hidden states an input of that length gives."""
    if one.name == "nystromformer":
        return max(-(-length // 16) * 16, 32)
    if one.name == "vit":
        return (length // 16) ** 2 + 1
    return (length // 8) ** 2 if one.name == "swin" else length


@pytest.mark.parametrize(("one", "attention"), CASES)
def test_inference_at_exact_lengths(one: Entry, attention: str) -> None:
    model = tiny(one.name, attention=attention)
    assert (model.attention, model.step, model.unit) == (attention, model.module, one.unit)
    for length in (32, 64, 96, 224) if one.unit == "pixel" else (1, 16, 33, 64, 130):
        with torch.no_grad():
            hidden = run(model, length, batch=2).last_hidden_state
        assert hidden.shape[:2] == (2, outputs_at(one, length))
        assert hidden.isfinite().all()
        assert 0.1 < hidden.std() < 10.0


@pytest.mark.parametrize(("one", "attention"), TRAINED)
def test_a_training_step_gives_a_loss_that_reaches_the_weights(one: Entry, attention: str) -> None:
    model = tiny(one.name, attention=attention, mode="train")
    assert model.module.training
    loss = run(model, 48, batch=2)
    assert loss.shape == ()
    loss.backward()
    missing = {name for name, parameter in model.step.named_parameters() if parameter.grad is None}
    # A pooler is no part of the loss, nothing is masked, and no token of Longformer's has global attention.
    unused = ("pooler", "masked_spec", "_global")
    assert {name for name in missing if not any(part in name for part in unused)} == set()
    assert {parameter.shape for name, parameter in model.step.named_parameters() if name.startswith("head.")} == {
        (2,),
        (2, 32),
    }


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.name)
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_every_parameter_is_of_some_kind(one: Entry, mode: str) -> None:
    model = tiny(one.name, mode=mode)
    kinds = classify(model.step, model.kinds)
    own = {path: kinds[path] for path, layer in model.step.named_modules() if [*layer.parameters(recurse=False)]}
    own.pop("model" if mode == "train" else "", None)
    assert "other" not in own.values()
    assert set(own.values()) >= {"embedding", "self-attention", "feedforward", "normalisation"}
    assert mode == "infer" or kinds["head.classifier"] == "head"
    assert kinds[""] == "other"


# How many layers of the tiny models are of each kind.
LAYERS_OF_KINDS = {
    "bert": (5, 18, 12, 5, 3, 5),
    "longformer": (5, 22, 12, 5, 3, 5),
    "nystromformer": (5, 20, 12, 5, 0, 5),
    "hubert": (34, 12, 14, 7, 0, 3),
    "l-hubert": (34, 12, 14, 7, 0, 3),
    "l-hubert-100": (34, 12, 14, 7, 0, 3),
    "vit": (4, 10, 12, 5, 3, 2),
    "swin": (6, 36, 16, 11, 1, 7),
}


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.name)
def test_the_models_of_the_study_keep_their_kinds(one: Entry) -> None:
    """Kinds that came later (convolution, say) take nothing from them, so that runs of all years can be compared."""
    model = tiny(one.name)
    kinds = Counter(classify(model.step, model.kinds).values())
    order = ("embedding", "self-attention", "feedforward", "normalisation", "head", "other")
    assert tuple(kinds[kind] for kind in order) == LAYERS_OF_KINDS[one.name]
    assert set(kinds) <= set(order)


def test_inputs_and_weights_are_reproducible() -> None:
    one, same = tiny("hubert"), tiny("hubert")
    assert torch.equal(one.inputs(40, 2)[1]["input_values"], same.inputs(40, 2)[1]["input_values"])
    assert torch.equal(run(one, 40).last_hidden_state, run(same, 40).last_hidden_state)
    other = tiny("hubert", seed=1)
    assert not torch.equal(one.inputs(40, 2)[1]["input_values"], other.inputs(40, 2)[1]["input_values"])
    assert not torch.equal(run(one, 40).last_hidden_state, run(other, 40).last_hidden_state)


def test_implementations_agree_and_do_not_share_a_configuration() -> None:
    for name in ("bert", "hubert", "vit", "swin"):
        eager, sdpa = tiny(name, attention="eager"), tiny(name, attention="sdpa")
        assert eager.module.config._attn_implementation == "eager"
        torch.testing.assert_close(
            run(eager, 64).last_hidden_state, run(sdpa, 64).last_hidden_state, atol=1e-4, rtol=1e-4
        )


def test_flex_is_for_inference_only() -> None:
    with pytest.raises(UsageError, match=r"l-hubert cannot be trained with flex.*choose fused, chunks, sdpa-mask"):
        tiny("l-hubert", attention="flex", mode="train")


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_implementations_of_l_hubert_agree(mode: str) -> None:
    models = [tiny("l-hubert", attention=attention, mode=mode) for attention in ("chunks", "fused", "sdpa-mask")]
    results = []
    for model in models:
        for layer in model.step.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
            if hasattr(layer, "dropout") and isinstance(layer.dropout, float):
                layer.dropout = 0.0
        output = run(model, 130, batch=2)
        if mode == "infer":
            results.append([output.last_hidden_state])
            continue
        output.backward()
        results.append([output, *(each.grad for each in model.step.parameters() if each.grad is not None)])
    for found in results[1:]:
        assert len(found) == len(results[0])
        for ours, theirs in zip(found, results[0], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_a_window_wider_than_the_input_makes_l_hubert_hubert() -> None:
    local, dense = tiny("l-hubert"), tiny("hubert", attention="eager")
    torch.testing.assert_close(run(local, 17).last_hidden_state, run(dense, 17).last_hidden_state, atol=1e-4, rtol=1e-4)
    assert (run(local, 40).last_hidden_state - run(dense, 40).last_hidden_state).abs().max() > 1e-4


def test_l_hubert_keeps_the_padding_mask() -> None:
    encoder: Any = tiny("l-hubert").module.encoder
    hidden = torch.randn(1, 20, 32)
    padded = torch.cat((hidden, torch.randn(1, 30, 32)), dim=1)
    mask = torch.arange(50)[None] < 20
    with torch.no_grad():
        alone, masked = encoder(hidden)[0], encoder(padded, attention_mask=mask)[0][:, :20]
    torch.testing.assert_close(alone, masked, atol=1e-5, rtol=1e-5)


def test_nystromformer_always_takes_the_nystrom_path(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    inverse = NystromformerSelfAttention.iterative_inv
    monkeypatch.setattr(
        NystromformerSelfAttention, "iterative_inv", lambda self, *args: calls.append(1) or inverse(self, *args)
    )
    model = tiny("nystromformer")
    for length in (1, 15, 16, 17, 32, 100, 256):
        calls.clear()
        run(model, length)
        assert len(calls) == 2, length


def test_nystromformers_landmarks_do_not_see_the_padding() -> None:
    model = tiny("nystromformer")
    model.fit(40)
    kwargs = model.inputs(40, 1)[1]
    attention: Any = model.module.encoder.layer[0].attention.self
    seen: list[torch.Tensor] = []
    attention.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    model.step(**kwargs)
    assert seen[0].shape == (1, 1, 1, 48)
    assert (seen[0][..., :40] == 0).all()
    assert (seen[0][..., 40:] < -1e4).all()


def test_fitting_vit_interpolates_once_and_from_the_published_table() -> None:
    model = tiny("vit", longest=512)
    embeddings: Any = model.module.embeddings
    model.fit(224)
    published = embeddings.position_embeddings.detach().clone()
    model.fit(64)
    small = embeddings.position_embeddings
    assert small.shape == (1, 17, 32)
    assert torch.equal(small[:, 0], published[:, 0])
    model.fit(64)
    assert embeddings.position_embeddings is small
    model.fit(224)
    assert torch.equal(embeddings.position_embeddings, published)


def test_swin_shifts_windows_only_where_the_map_is_larger_than_one() -> None:
    model = tiny("swin")
    stages: Any = model.module.encoder.layers
    for length, shifts in ((56, [[0, 3], [0, 0]]), (32, [[0, 3], [0, 0]]), (224, [[0, 3], [0, 3]])):
        run(model, length)
        assert [[block.shift_size for block in stage.blocks] for stage in stages] == shifts
        assert {block.window_size for stage in stages for block in stage.blocks} == {7}


def test_swin_at_its_published_size_is_the_published_model() -> None:
    model = tiny("swin")
    ours = run(model, 224).last_hidden_state
    model.fit(224)
    pixels = model.inputs(224, 1)[1]["pixel_values"]
    torch.testing.assert_close(ours, model.module(pixels).last_hidden_state)


def test_notes_say_what_was_padded_and_switched_off(capfd: pytest.CaptureFixture[str]) -> None:
    longformer = tiny("longformer")
    run(longformer, 33)
    assert longformer.notes(33)[-1] == "padded to 64 tokens, a multiple of the attention window 32"
    assert not any("padded" in note for note in longformer.notes(64))
    assert "lengthened from 64 to 256 tokens" in longformer.notes(64)[0]
    assert "twice the 16 landmarks" in tiny("nystromformer").notes(9)[-1]
    assert tiny("l-hubert", attention="fused").notes(40) == ()
    assert tiny("l-hubert").notes(40) == ("attention padded to 64 frames, a multiple of the context 32",)
    assert tiny("hubert").notes(40) == ()
    assert "layer drop and SpecAugment are off" in tiny("hubert", mode="train").notes(40)[0]
    assert "8 to 14, 4 to 7" in tiny("swin").notes(32)[0]
    assert tiny("vit").notes(224) == ()
    assert capfd.readouterr().err == ""


def test_dtype_and_mode_reach_the_module_and_its_inputs() -> None:
    model = tiny("l-hubert", dtype="bfloat16", mode="train")
    assert {parameter.dtype for parameter in model.step.parameters()} == {torch.bfloat16}
    assert model.inputs(20, 1)[1]["input_values"].dtype == torch.bfloat16
    assert run(model, 20).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "training"}, "no mode 'training': did you mean 'train'"),
        ({"size": "large"}, "no size 'large': choose from base, tiny"),
        ({"dtype": "float23"}, "no dtype 'float23': did you mean 'float32'"),
        ({"device": "cuda:99"}, "no device 'cuda:99'"),
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"longest": 0}, "takes lengths from 1"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tiny("bert", **options)


def test_lengths_beyond_what_was_loaded_and_empty_batches_are_refused() -> None:
    model = tiny("bert", longest=100)
    with pytest.raises(UsageError, match="loaded for lengths up to 100, not 101"):
        model.fit(101)
    with pytest.raises(UsageError, match="takes lengths from 1"):
        model.inputs(0, 1)
    with pytest.raises(UsageError, match="at least one example, not 0"):
        model.inputs(10, 0)


@pytest.mark.slow
def test_a_compiled_step_gives_the_same_result() -> None:
    plain, compiled = tiny("bert"), tiny("bert", compiled=True)
    torch.testing.assert_close(
        run(compiled, 16).last_hidden_state, run(plain, 16).last_hidden_state, atol=1e-4, rtol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_compiled_l_hubert_gives_the_same_result(mode: str) -> None:
    options: dict[str, Any] = {"attention": "fused", "mode": mode}
    plain, compiled = tiny("l-hubert", **options), tiny("l-hubert", compiled=True, **options)
    results = []
    for model in (plain, compiled):
        for length in (16, 40):
            model.module.eval()  # without dropout, which a compiled step draws otherwise
            output = run(model, length)
            if mode == "train":
                output.backward()
                results.append(output.detach())
            else:
                results.append(output.last_hidden_state)
        results += [each.grad for each in model.step.parameters() if each.grad is not None]
    half = len(results) // 2
    assert half >= 2 if mode == "infer" else half > 50
    for ours, theirs in zip(results[half:], results[:half], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)

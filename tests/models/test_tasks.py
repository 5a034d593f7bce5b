"""A checkpoint is the class that it names, and trains on its own loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from pyprof.cli.main import main
from pyprof.errors import UsageError
from pyprof.models.blueprint import blueprint
from pyprof.models.l_hubert import from_hubert
from pyprof.models.registry import entry, load
from pyprof.models.step import LossStep, TrainStep

TINY = {"vocab_size": 64, "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 64, "n_positions": 64, "pad_token_id": 0}


def tiny(name: str, **more: Any) -> Any:
    return type(config := blueprint(entry(name), "tiny").config)(**{**config.to_diff_dict(), **more})


def bert(**more: Any) -> Any:
    return transformers.BertConfig(**TINY, max_position_embeddings=64, **more)


CLASSES: dict[str, Callable[[], Any]] = {
    "GPT2LMHeadModel": lambda: transformers.GPT2Config(**GPT2),
    "GPT2ForSequenceClassification": lambda: transformers.GPT2Config(**GPT2, num_labels=3),
    "LlamaForCausalLM": lambda: transformers.LlamaConfig(**TINY, num_key_value_heads=1),
    "BertForMaskedLM": bert,
    "BertForSequenceClassification": lambda: bert(num_labels=5),
    "BertForTokenClassification": lambda: bert(num_labels=7),
    "BertForQuestionAnswering": bert,
    "RobertaForSequenceClassification": lambda: transformers.RobertaConfig(
        **TINY, max_position_embeddings=66, num_labels=1
    ),
    "DistilBertForSequenceClassification": lambda: transformers.DistilBertConfig(
        vocab_size=64,
        dim=16,
        n_layers=1,
        n_heads=2,
        hidden_dim=32,
        num_labels=3,
        problem_type="multi_label_classification",
    ),
    "LongformerForTokenClassification": lambda: tiny("longformer"),
    "NystromformerForMaskedLM": lambda: tiny("nystromformer"),
    "ViTForImageClassification": lambda: tiny("vit", num_labels=4),
    "SwinForImageClassification": lambda: tiny("swin", num_labels=4),
    "HubertForCTC": lambda: tiny("hubert", vocab_size=12),
    "HubertForSequenceClassification": lambda: tiny("hubert", num_labels=3),
}
LENGTHS = {"ViTForImageClassification": 48, "SwinForImageClassification": 64}


def saved(directory: Path, name: str, config: Any) -> nn.Module:
    torch.manual_seed(3)
    model: Any = getattr(transformers, name)(config).eval()
    model.save_pretrained(directory)
    return model  # type: ignore[no-any-return]


def loaded(directory: Path, mode: str = "train", longest: int = 64, **more: Any) -> Any:
    return load(str(directory), mode=mode, longest=longest, attention="then", **more)


@pytest.mark.parametrize("name", CLASSES)
def test_a_checkpoint_is_the_class_that_it_names_with_its_own_loss(name: str, tmp_path: Path) -> None:
    original = saved(tmp_path, name, CLASSES[name]())
    length = LENGTHS.get(name, 20)
    model = loaded(tmp_path)
    model.fit(length)
    assert type(model.module) is type(original)
    assert isinstance(model.step, LossStep)
    if name not in LENGTHS:
        assert set(model.module.state_dict()) == set(original.state_dict())
    args, kwargs = model.inputs(length, 2)
    model.module.eval()
    loss = model.step(*args, **kwargs)
    assert loss.dim() == 0
    assert torch.isfinite(loss)
    torch.testing.assert_close(loss, model.module(*args, **kwargs).loss)
    loss.backward()
    assert all(
        parameter.grad is not None for path, parameter in model.module.named_parameters() if "classifier" in path
    )
    assert f"measured as {name}" in model.notes(length)
    assert f"the loss is that of {name} itself, on random labels" in model.notes(length)


def test_the_loss_is_that_of_the_labels_and_the_logits(tmp_path: Path) -> None:
    saved(tmp_path, "BertForSequenceClassification", bert(num_labels=5))
    model = loaded(tmp_path)
    _, kwargs = model.inputs(20, 3)
    assert kwargs["labels"].shape == (3,)
    model.module.eval()
    logits = model.module(input_ids=kwargs["input_ids"]).logits
    assert logits.shape == (3, 5)
    torch.testing.assert_close(model.step(**kwargs), nn.functional.cross_entropy(logits, kwargs["labels"]))


def test_in_infer_mode_the_head_runs_and_there_are_no_labels(tmp_path: Path) -> None:
    original = saved(tmp_path, "GPT2LMHeadModel", CLASSES["GPT2LMHeadModel"]())
    model = loaded(tmp_path, "infer")
    _, kwargs = model.inputs(20, 1)
    assert set(kwargs) == {"input_ids"}
    torch.testing.assert_close(model.step(**kwargs).logits, original(**kwargs).logits)
    assert model.notes(20) == ("measured as GPT2LMHeadModel",)


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_the_base_model_is_there_on_request(mode: str, tmp_path: Path) -> None:
    saved(tmp_path, "GPT2LMHeadModel", CLASSES["GPT2LMHeadModel"]())
    model = loaded(tmp_path, mode, base_model=True)
    assert type(model.module) is transformers.GPT2Model
    assert isinstance(model.step, TrainStep) == (mode == "train")
    assert model.notes(20) == ("measured as GPT2Model",)
    with pytest.raises(UsageError, match="bert is no checkpoint with a head: leave the base model out"):
        load("bert", size="tiny", mode=mode, longest=20, attention="then", base_model=True)


def test_a_checkpoint_that_names_no_class_is_its_base_model(tmp_path: Path) -> None:
    saved(tmp_path, "BertForMaskedLM", bert())
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    model = loaded(tmp_path)
    assert type(model.module) is transformers.BertModel
    assert isinstance(model.step, TrainStep)


@pytest.mark.parametrize("name", ["BertForPoetry", "GPT2LMHeadModel", "BertConfig"])
def test_a_class_that_transformers_lacks_is_one_sentence(name: str, tmp_path: Path) -> None:
    saved(tmp_path, "BertForMaskedLM", bert())
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "architectures": [name]}))
    with pytest.raises(UsageError, match=f"names the class '{name}', which transformers does not have .*--base-model"):
        loaded(tmp_path)
    assert type(loaded(tmp_path, base_model=True).module) is transformers.BertModel


@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForNextSentencePrediction"])
def test_a_task_without_known_labels_trains_on_the_mean_of_its_outputs(name: str, tmp_path: Path) -> None:
    saved(tmp_path, name, bert())
    model = loaded(tmp_path)
    args, kwargs = model.inputs(20, 2)
    assert set(kwargs) == {"input_ids"}
    model.module.eval()
    outputs = [output.mean() for output in model.module(**kwargs).to_tuple()]
    torch.testing.assert_close(model.step(*args, **kwargs), torch.stack(outputs).sum())
    assert f"the loss is the mean of the outputs: labels for the task of {name} are not known" in model.notes(20)


def test_an_l_hubert_keeps_its_head_too(tmp_path: Path) -> None:
    hubert: Any = transformers.HubertForCTC(tiny("hubert", vocab_size=12))
    from_hubert(hubert, 4).save_pretrained(tmp_path)
    model = loaded(tmp_path)
    assert model.class_name == "LHubertForCTC"
    args, kwargs = model.inputs(20, 2)
    model.step(*args, **kwargs).backward()


def test_profile_names_the_class_and_not_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, "GPT2LMHeadModel", CLASSES["GPT2LMHeadModel"]())
    command = ["profile", str(tmp_path), "--length", "16", "--seconds", "0.01"]
    assert main(command) == 0
    heading = "".join(capsys.readouterr().out.replace("\n", "").partition("one step")[0].split())
    assert "(GPT2LMHeadModel),16tokens" in heading
    assert "base" not in heading
    assert main([*command, "--mode", "train", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["class"], document["size"]) == ("GPT2LMHeadModel", None)
    assert "model.lm_head" in document["layers"]["path"]
    assert main([*command, "--base-model", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["class"] == "GPT2Model"
    assert "lm_head" not in document["layers"]["path"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_nystromformer_in_16_bits_is_one_sentence(dtype: str, mode: str, tmp_path: Path) -> None:
    message = f"Nyströmformer cannot run in {dtype}, .*: choose autocast-bfloat16 or float32"
    with pytest.raises(UsageError, match=message):
        load("nystromformer", size="tiny", mode=mode, longest=64, attention="then", dtype=dtype)
    saved(tmp_path, "NystromformerForMaskedLM", tiny("nystromformer"))
    with pytest.raises(UsageError, match=message):
        loaded(tmp_path, mode, dtype=dtype)


def test_what_the_sentence_recommends_for_nystromformer_works(tmp_path: Path) -> None:
    for dtype in ("float32", "float64"):
        model = load("nystromformer", size="tiny", mode="train", longest=64, attention="then", dtype=dtype)
        model.fit(40)
        args, kwargs = model.inputs(40, 1)
        model.step(*args, **kwargs).backward()
    model = load("nystromformer", size="tiny", mode="train", longest=64, attention="then", dtype="autocast-bfloat16")
    model.fit(40)
    args, kwargs = model.inputs(40, 1)
    loss = model.call(*args, **kwargs)
    loss.backward()
    assert torch.isfinite(loss)
    assert {parameter.dtype for parameter in model.step.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["bert", "vit", "hubert"])
def test_autocast_computes_in_bfloat16_on_float32_weights(name: str) -> None:
    length = 32 if name == "vit" else 10
    model = load(name, size="tiny", mode="infer", longest=length, attention="best", dtype="autocast-bfloat16")
    model.fit(length)
    args, kwargs = model.inputs(length, 1)
    seen: set[torch.dtype] = set()
    linear = next(layer for layer in model.module.modules() if isinstance(layer, torch.nn.Linear))
    linear.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    model.call(*args, **kwargs)
    assert seen == {torch.bfloat16}
    assert linear.weight.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_a_checkpoint_in_16_bits_keeps_its_head(tmp_path: Path) -> None:
    saved(tmp_path, "GPT2LMHeadModel", CLASSES["GPT2LMHeadModel"]())
    model = loaded(tmp_path, dtype="bfloat16")
    args, kwargs = model.inputs(20, 1)
    assert kwargs["labels"].dtype == torch.int64
    model.step(*args, **kwargs).backward()

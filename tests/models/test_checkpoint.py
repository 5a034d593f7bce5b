from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel, GPT2Config, GPT2Model, T5Config, T5Model

from pyprof.errors import UsageError
from pyprof.models.blueprint import blueprint
from pyprof.models.l_hubert import from_hubert
from pyprof.models.registry import entry, load, resolve

OPTIONS: dict[str, Any] = {"mode": "infer", "longest": 32, "attention": "then"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of the tiny models, one directory each."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name in ("bert", "hubert", "vit"):
        blueprint(entry(name), "tiny").build("eager", seed=7).save_pretrained(root / name)
    return root


def hidden(model: Any, length: int) -> torch.Tensor:
    model.fit(length)
    args, kwargs = model.inputs(length, 1)
    with torch.no_grad():
        found: torch.Tensor = model.step(*args, **kwargs).last_hidden_state
    return found


def test_weights_replace_the_random_ones(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with_weights = load("bert", size="tiny", weights=str(saved / "bert"), **OPTIONS)
    drawn = load("bert", size="tiny", seed=7, **OPTIONS)
    random = load("bert", size="tiny", **OPTIONS)
    inputs = drawn.inputs(20, 1)[1]
    expected = drawn.module(**inputs).last_hidden_state
    torch.testing.assert_close(with_weights.module(**inputs).last_hidden_state, expected)
    assert not torch.allclose(random.module(**inputs).last_hidden_state, expected)
    assert with_weights.notes(20) == ()
    assert capfd.readouterr().err == ""


def test_hubert_weights_fit_l_hubert(saved: Path) -> None:
    local = load("l-hubert", size="tiny", weights=str(saved / "hubert"), **OPTIONS)
    dense = load("hubert", size="tiny", weights=str(saved / "hubert"), **OPTIONS)
    assert local.attention == "chunks"
    torch.testing.assert_close(hidden(local, 10), hidden(dense, 10), atol=1e-4, rtol=1e-4)


def test_an_l_hubert_directory_is_a_model(saved: Path, tmp_path: Path) -> None:
    directory = str(tmp_path)
    from_hubert(saved / "hubert", context=8).save_pretrained(directory)
    assert [resolve(directory, name) for name in ("best", "then", "flex")] == ["fused", "chunks", "flex"]
    with pytest.raises(UsageError, match="no attention implementation 'sdpa': choose from fused, chunks, flex, sdpa-m"):
        load(directory, **{**OPTIONS, "attention": "sdpa"})
    outputs = []
    for attention in ("best", "then", "sdpa-mask"):
        model = load(directory, **{**OPTIONS, "attention": attention})
        assert model.module.config.window == (4, 4)
        outputs.append(hidden(model, 30))
    for found in outputs[1:]:
        torch.testing.assert_close(found, outputs[0], atol=1e-4, rtol=1e-4)
    weights = load("l-hubert", size="tiny", weights=directory, **OPTIONS)
    assert weights.module.config.window == (16, 16)


def test_a_table_of_positions_is_lengthened_by_repetition(saved: Path) -> None:
    model = load("bert", size="tiny", weights=str(saved / "bert"), **{**OPTIONS, "longest": 150})
    table = model.module.get_parameter("embeddings.position_embeddings.weight")
    assert table.shape == (150, 32)
    assert torch.equal(table[:64], table[64:128])
    assert hidden(model, 150).shape == (1, 150, 32)
    assert "lengthened from 64 to 150" in model.notes(150)[0]


def test_a_directory_is_a_model(saved: Path) -> None:
    directory = str(saved / "bert")
    assert [resolve(directory, name) for name in ("best", "then")] == ["sdpa", "eager"]
    for attention in ("eager", "sdpa"):
        model = load(directory, **{**OPTIONS, "attention": attention, "longest": 100})
        assert (model.entry, model.unit, model.attention) == (None, "token", attention)
        assert hidden(model, 100).shape == (1, 100, 32)
    vision = load(str(saved / "vit"), **{**OPTIONS, "longest": 64})
    assert hidden(vision, 64).shape == (1, 17, 32)
    with pytest.raises(UsageError, match="multiple of the patch of 16 pixels, not 40"):
        vision.fit(40)
    speech = load(str(saved / "hubert"), **{**OPTIONS, "mode": "train"})
    speech.fit(30)
    args, kwargs = speech.inputs(30, 2)
    speech.step(*args, **kwargs).backward()


def test_a_missing_pooler_is_allowed_and_noted(tmp_path: Path) -> None:
    config = BertConfig(**blueprint(entry("bert"), "tiny").config.to_diff_dict())
    BertForMaskedLM(config).save_pretrained(tmp_path)
    model = load("bert", size="tiny", weights=str(tmp_path), **OPTIONS)
    assert model.notes(5) == ("the checkpoint has no pooler: its weights are random",)


def test_mismatches_are_one_sentence(saved: Path, tmp_path: Path) -> None:
    def refused(message: str, directory: Path | str, name: str = "bert", **options: Any) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            load(name, size="tiny", weights=str(directory), **{**OPTIONS, **options})
        assert "\n" not in str(caught.value)

    refused("of the architecture 'hubert': give one of 'bert'", saved / "hubert")
    refused("no local transformers checkpoint", tmp_path)
    refused("no local transformers checkpoint", tmp_path / "nowhere")
    wide = BertConfig(**{**blueprint(entry("bert"), "tiny").config.to_diff_dict(), "intermediate_size": 48})
    BertModel(wide).save_pretrained(tmp_path / "wide")
    refused(r"does not fit: its .*\(48.* and the model's has .*64", tmp_path / "wide")
    shallow = BertConfig(**{**blueprint(entry("bert"), "tiny").config.to_diff_dict(), "num_hidden_layers": 1})
    BertModel(shallow).save_pretrained(tmp_path / "shallow")
    refused(r"lacks \d+ of the model's tensors, encoder.layer.1", tmp_path / "shallow")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((saved / "bert" / "config.json").read_text())
    torch.save({}, pickled / "pytorch_model.bin")
    refused("no .*safetensors file, the only format that is read", pickled)
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "config.json").write_text((saved / "bert" / "config.json").read_text())
    (torn / "model.safetensors").write_bytes(b"torn")
    refused("cannot be loaded", torn)


def test_directories_that_are_no_usable_model(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no local transformers checkpoint"):
        load(str(tmp_path), **OPTIONS)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "config.json").write_text(json.dumps({"model_type": "no_such_model"}))
    (strange / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="is not one that transformers knows"):
        load(str(strange), **OPTIONS)
    with pytest.raises(UsageError, match="leave them out"):
        load(str(saved / "bert"), weights=str(saved / "bert"), **OPTIONS)
    with pytest.raises(UsageError, match="one size only"):
        load(str(saved / "bert"), size="tiny", **OPTIONS)
    with pytest.raises(UsageError, match="no attention implementation 'chunks': choose from sdpa, eager"):
        load(str(saved / "bert"), **{**OPTIONS, "attention": "chunks"})
    two = T5Config(vocab_size=64, d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2)
    T5Model(two).save_pretrained(tmp_path / "t5")
    with pytest.raises(UsageError, match="does not run on 8 tokens alone, so write a factory for it: ValueError"):
        load(str(tmp_path / "t5"), **OPTIONS)
    own_eager = blueprint(entry("nystromformer"), "tiny").build("eager", seed=0)
    own_eager.save_pretrained(tmp_path / "n")
    with pytest.raises(UsageError, match="no attention implementation 'sdpa': choose from eager, best or then"):
        load(str(tmp_path / "n"), **{**OPTIONS, "attention": "sdpa"})
    GPT2Model(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64, n_positions=16)).save_pretrained(tmp_path / "g")
    with pytest.raises(UsageError, match="positions for 16 tokens"):
        load(str(tmp_path / "g"), **OPTIONS)
    model = load(str(tmp_path / "g"), **{**OPTIONS, "longest": 16})
    assert hidden(model, 16).shape == (1, 16, 32)

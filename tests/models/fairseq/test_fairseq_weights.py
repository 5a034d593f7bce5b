from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_files import checkpoint, fairseq_weights, save

from pyprof.errors import UsageError
from pyprof.models import checkpoint as checkpoints
from pyprof.models.blueprint import blueprint
from pyprof.models.l_hubert import from_hubert
from pyprof.models.loaded import LoadedModel
from pyprof.models.registry import entry, load

OPTIONS: dict[str, Any] = {"mode": "infer", "longest": 32, "attention": "then", "size": "tiny"}
TINY: dict[str, Any] = {
    "_name": "hubert",
    "encoder_embed_dim": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_embed_dim": 64,
    "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
    "conv_pos": 16,
    "conv_pos_groups": 4,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in fairseq's layout with the weights that seed 7 gives to the tiny HuBERT."""
    model: Any = blueprint(entry("hubert"), "tiny").build("eager", seed=7)
    return save(checkpoint(model, TINY), tmp_path_factory.mktemp("fairseq") / "hubert.pt")


def hidden(model: LoadedModel) -> torch.Tensor:
    model.fit(10)
    sound = torch.randn(2, 3600, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found: torch.Tensor = model.step(sound).last_hidden_state
    return found


def test_a_file_gives_a_registry_model_its_weights(saved: Path) -> None:
    expected = hidden(load("hubert", seed=7, **OPTIONS))
    for name in ("hubert", "l-hubert"):
        found = load(name, weights=str(saved), **OPTIONS)
        assert found.attention == ("eager" if name == "hubert" else "chunks")
        torch.testing.assert_close(hidden(found), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(hidden(load("hubert", **OPTIONS)), expected, atol=1e-2)


def test_a_file_without_a_vector_of_masked_frames_trains(tmp_path: Path, saved: Path) -> None:
    model: Any = blueprint(entry("hubert"), "tiny").build("eager", seed=7)
    path = save(checkpoint(model, {**TINY, "mask_prob": 0.0}), tmp_path / "unmasked.pt")
    loaded = load("l-hubert", weights=str(path), **{**OPTIONS, "mode": "train"})
    loaded.fit(10)
    args, kwargs = loaded.inputs(10, 2)
    loaded.step(*args, **kwargs).backward()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("bert", {}, "is a file, which only HuBERT takes"),
        ("hubert", {"encoder_attention_heads": 4}, "its num_attention_heads is 4 and the model's is 2"),
        ("l-hubert", {"layer_norm_first": True}, "its do_stable_layer_norm is True and the model's is False"),
        ("hubert", {"conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,1)] * 2"}, "its conv_stride is"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, name: str, change: dict[str, Any], message: str) -> None:
    model: Any = blueprint(entry("hubert"), "tiny").build("eager", seed=7)
    path = save(checkpoint(model, {**TINY, **change}), tmp_path / "other.pt")
    with pytest.raises(UsageError, match=message):
        load(name, weights=str(path), **OPTIONS)


def test_a_file_is_a_model(saved: Path) -> None:
    path = str(saved)
    assert (checkpoints.attentions(path), checkpoints.then(path)) == (("sdpa", "eager"), "eager")
    module, config, notes = checkpoints.load_directory(path, "sdpa")
    assert (config.model_type, config._attn_implementation, notes) == ("hubert", "sdpa", ())
    assert {"mask_emb", "encoder.pos_conv.0.weight_g"} <= fairseq_weights(module).keys()
    assert from_hubert(path, 8).config.window == (4, 4)

"""A checkpoint whose config.json means nothing is wrong use, where it is profiled and where it is studied."""

from __future__ import annotations

import json

import pytest

from pyprof.cli.main import main

RIGHT = {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
STUDY = 'name = "s"\n[[comparison]]\nvanilla = "{}"\nlengths = [8]\nimplementations = ["now"]\n'


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "[" * 100_000,
        "NaN",
        "9" * 5000,
        json.dumps({"model_type": {}}),
        json.dumps({"model_type": "bert\x1b[2J"}),
        *(
            json.dumps({**RIGHT, **changes})
            for changes in (
                {"hidden_size": "x"},
                {"hidden_size": None},
                {"num_hidden_layers": 1e400},
                {"vocab_size": []},
                {"max_position_embeddings": {}},
                {"torch_dtype": "x\x1b[2J"},
                {"id2label": 3},
                {"is_decoder": "x"},
            )
        ),
    ],
)
def test_it_is_one_sentence_and_wrong_use(tmp_path, capsys, content):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(content)
    (checkpoint / "model.safetensors").write_bytes(b"")
    study = tmp_path / "mine.toml"
    study.write_text(STUDY.format(checkpoint))
    for command in (("profile", str(checkpoint), "--length", "8"), ("study", str(study), "--dry-run")):
        assert main([*command]) == 2
        out, err = capsys.readouterr()
        [said] = [line for line in err.splitlines() if line.startswith("pyprof: ")]
        assert out == ""
        assert str(checkpoint) in said
        assert said.isprintable()

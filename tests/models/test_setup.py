from __future__ import annotations

import subprocess
import sys

import pytest

from pyprof.errors import UsageError
from pyprof.models.setup import ModelSetup, default_length


def test_the_default_length_is_in_the_models_own_unit() -> None:
    assert default_length("bert", 512) == 512
    assert default_length("swin", 512) == 224
    assert default_length("some.module:factory", 128) == 128
    with pytest.raises(UsageError, match="did you mean 'bert'"):
        default_length("brt", 512)


def test_a_setup_is_loaded_for_its_length_alone() -> None:
    loaded = ModelSetup("vit", 64, attention="then", size="tiny").load("train")
    assert (loaded.attention, loaded.mode, loaded.unit, loaded.request.longest) == ("eager", "train", "pixel", 64)
    assert loaded.module.embeddings.image_size == (64, 64)  # type: ignore[union-attr]


def test_a_length_and_a_batch_are_positive() -> None:
    for changes in ({"length": 0}, {"batch": 0}):
        with pytest.raises(UsageError, match="at least 1"):
            ModelSetup(**{"model": "bert", "length": 8, **changes})  # type: ignore[arg-type]


def test_a_setup_loads_no_torch_before_it_is_asked_to() -> None:
    code = (
        "import sys; from pyprof.models.setup import ModelSetup, default_length;"
        "ModelSetup('bert', default_length('bert', 512)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

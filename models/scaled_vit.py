"""The ViTs of "The Efficiency Misnomer" (Dehghani et al., ICLR 2022), with their heads: patches, depth and width."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTForImageClassification

from pyprof.models.blueprint import Blueprint
from pyprof.models.scaled_vit_sizes import PATCH_CLASSES, SCALING_CLASSES, SCALING_PATCH, SIZES

_IMAGE = 224


def _blueprint(size: str, *, patch: int, width: int, inner: int, layers: int, heads: int, classes: int) -> Blueprint:
    published: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "image_size": _IMAGE,
        "patch_size": patch,
        "num_labels": classes,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    tiny = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_labels": 10}
    tiny |= {"num_hidden_layers": max(1, layers // 6)}
    return Blueprint(ViTForImageClassification, ViTConfig(**(published | tiny if size == "tiny" else published)))


def _patches(patch: int) -> Callable[[str], Blueprint]:
    return partial(_blueprint, patch=patch, width=768, inner=3072, layers=12, heads=12, classes=PATCH_CLASSES)


def _scaled(name: str) -> Callable[[str], Blueprint]:
    layers, inner, width, heads = SIZES[name]
    return partial(
        _blueprint,
        patch=SCALING_PATCH,
        width=width,
        inner=inner,
        layers=layers,
        heads=heads,
        classes=SCALING_CLASSES,
    )


b8, b16, b32, b64 = map(_patches, (8, 16, 32, 64))
d6, d8, d16, d24, d32, d48 = (_scaled(f"d{layers}") for layers in (6, 8, 16, 24, 32, 48))
w768, w1024, w1536, w3072, w4096 = (_scaled(f"w{width}") for width in (768, 1024, 1536, 3072, 4096))

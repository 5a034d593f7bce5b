"""Checkpoints in fairseq's layout, made without fairseq."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import HubertConfig, HubertForCTC, HubertModel

BASE: dict[str, Any] = {
    "_name": "hubert",
    "encoder_embed_dim": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_embed_dim": 48,
    "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 2",
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "dropout": 0.1,
    "mask_prob": 0.8,
    "label_rate": 50.0,
}
LARGE: dict[str, Any] = {**BASE, "extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}
TASK: dict[str, Any] = {"_name": "hubert_pretraining", "sample_rate": 16000, "normalize": False}

# transformers' names and fairseq's, written down apart from the table that the conversion uses.
_PARTS = (
    ("masked_spec_embed", "mask_emb"),
    ("feature_projection.projection.", "post_extract_proj."),
    ("feature_projection.layer_norm.", "layer_norm."),
    ("encoder.pos_conv_embed.conv.parametrizations.weight.original0", "encoder.pos_conv.0.weight_g"),
    ("encoder.pos_conv_embed.conv.parametrizations.weight.original1", "encoder.pos_conv.0.weight_v"),
    ("encoder.pos_conv_embed.conv.bias", "encoder.pos_conv.0.bias"),
    (".attention.", ".self_attn."),
    (".feed_forward.intermediate_dense.", ".fc1."),
    (".feed_forward.output_dense.", ".fc2."),
)


def fairseq_weights(model: HubertModel) -> dict[str, Tensor]:
    """The weights of a transformers HuBERT by fairseq's names, and those of a pretraining head."""
    made = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("feature_extractor."):
            inner = "0.2.1." if model.config.feat_extract_norm == "layer" else "0.2."
            _, _, layer, part, kind = name.split(".")
            position = "0." if part == "conv" else inner[2:]
            name = f"feature_extractor.conv_layers.{layer}.{position}{kind}"
        elif name.startswith("encoder.layers."):
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        for theirs, ours in _PARTS:
            if theirs in name:
                name = name.replace(theirs, ours)
                break
        made[name] = tensor.detach().clone()
    return made | {"label_embs_concat": torch.randn(7, 32), "final_proj.weight": torch.randn(32, 32)}


def hubert(large: bool = False, seed: int = 0, **more: Any) -> HubertModel | HubertForCTC:
    """A tiny transformers HuBERT of the sizes of BASE or LARGE, no weight of which is one or zero."""
    config = HubertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=(16, 16, 16),
        conv_kernel=(10, 3, 3),
        conv_stride=(5, 2, 2),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        conv_bias=large,
        do_stable_layer_norm=large,
        feat_extract_norm="layer" if large else "group",
        **more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (HubertForCTC if "vocab_size" in more else HubertModel)(config)
    randomise(model, seed)
    return model.eval()


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Move every weight and every running statistic, so that none can stand for another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator) * 0.2)


def checkpoint(model: HubertModel, settings: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What fairseq's trainer saves of a pretrained model, as plain values."""
    large = model.config.do_stable_layer_norm
    return {
        "args": None,
        "cfg": {"model": settings or (LARGE if large else BASE), "task": TASK},
        "model": fairseq_weights(model),
        "optimizer_history": [{"num_updates": 3, "optimizer_name": "FairseqAdam"}],
        "extra_state": {"epoch": 1},
        **more,
    }


@contextlib.contextmanager
def foreign_classes() -> Iterator[dict[str, type]]:
    """Classes in modules of fairseq's and omegaconf's names that cannot be imported any more afterwards."""
    names = {
        "fairseq.data.dictionary": ("Dictionary",),
        "omegaconf.dictconfig": ("DictConfig",),
        "omegaconf.listconfig": ("ListConfig",),
        "omegaconf.nodes": ("AnyNode",),
        "fairseq.dataclass.constants": ("Extractor",),
    }
    with pytest.MonkeyPatch.context() as patch:
        made: dict[str, type] = {}
        for module_name, classes in names.items():
            parts = module_name.split(".")
            for end in range(1, len(parts) + 1):
                patch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
            for name in classes:
                made[name] = type(name, (), {"__module__": module_name})
                setattr(sys.modules[module_name], name, made[name])
        yield made


def with_state(kind: type, **state: Any) -> Any:
    """An object of a class with these attributes."""
    made = kind()
    vars(made).update(state)
    return made


def as_omegaconf(value: Any, classes: dict[str, type], parent: Any = None) -> Any:
    """A value as omegaconf's containers hold it: nodes that know their parents."""
    kind = {dict: "DictConfig", list: "ListConfig"}.get(type(value), "AnyNode")
    made = with_state(classes[kind], _parent=parent, _metadata={"ref_type": object})
    if kind == "AnyNode":
        made._val = value
    elif isinstance(value, dict):
        made._content = {key: as_omegaconf(item, classes, made) for key, item in value.items()}
    else:
        made._content = [as_omegaconf(item, classes, made) for item in value]
    return made


def save(content: Any, path: Path, legacy: bool = False) -> Path:
    """A file as torch.save writes it, or wrote it before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def old_arguments(settings: dict[str, Any]) -> argparse.Namespace:
    """Settings of model and task in one namespace, as fairseq kept them before it had configurations."""
    return argparse.Namespace(**{**settings, **TASK, "_name": None, "arch": "hubert"})

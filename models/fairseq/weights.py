"""Checkpoint files of fairseq where pyprof takes checkpoints: as the weights of a registry model, or as a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pyprof.errors import UsageError
from pyprof.models.blueprint import Blueprint
from pyprof.models.fairseq.hubert import from_fairseq

_TYPES = ("hubert", "l_hubert")
# Settings that the shapes of the weights do not fix, or not alone.
_ARCHITECTURE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "do_stable_layer_norm",
    "feat_extract_norm",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "conv_pos_batch_norm",
)


def load_file(path: str, attention: str, *, base_model: bool = True) -> nn.Module:
    """The HuBERT of a fairseq checkpoint file, read as data, running `attention`; with its head where that is asked."""
    loaded = from_fairseq(path, None)
    model: nn.Module = loaded.base_model if base_model else loaded
    model.set_attn_implementation(attention)  # type: ignore[operator]
    return model


def load_weights_file(plan: Blueprint, path: str, attention: str) -> nn.Module:
    """A registry model with the weights of a fairseq checkpoint file, which is read as data.

    Raises UsageError where the model is no HuBERT, or the file's has another architecture.
    """
    if plan.config.model_type not in _TYPES:
        raise UsageError(f"{path} is a file, which only HuBERT takes (of fairseq): give the directory of a checkpoint")
    loaded = load_file(path, "eager")
    theirs: Any = loaded.config
    for name in _ARCHITECTURE:
        has, wants = (_plain(getattr(config, name)) for config in (theirs, plan.config))
        if has != wants:
            raise UsageError(f"the checkpoint {path} does not fit: its {name} is {has!r} and the model's is {wants!r}")
    # The vector of masked frames is there only where frames may be masked.
    plan.config.mask_time_prob, plan.config.mask_feature_prob = theirs.mask_time_prob, theirs.mask_feature_prob
    plan.config._attn_implementation = attention
    with torch.device("meta"):
        module = plan.model(plan.config)
    module.load_state_dict(loaded.state_dict(), assign=True)
    return module


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value

"""Speech models: a waveform of 16,000 samples a second in, one hidden state per frame of 20 ms out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.hubert.configuration_hubert import HubertConfig
from transformers.models.hubert.modeling_hubert import HubertModel

from pyprof.models.architecture import Architecture, Inputs
from pyprof.models.blueprint import Blueprint
from pyprof.models.work import padded


class Speech(Architecture):
    """HuBERT and its kin; a token is one frame behind the convolutional encoder."""

    def __init__(self, module: nn.Module, config: Any) -> None:
        super().__init__(module, config)
        # Both are read from the configuration while the model runs. A layer that is skipped by chance is no layer to
        # measure, and masked frames come from a random generator on the host.
        config.layerdrop = 0.0
        config.apply_spec_augment = False

    def samples(self, frames: int) -> int:
        """The smallest number of samples that the convolutions turn into exactly that many frames."""
        samples = frames
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def inputs(self, length: int, batch: int, generator: torch.Generator) -> Inputs:
        return (), {"input_values": torch.randn(batch, self.samples(length), generator=generator)}

    def notes(self, length: int, mode: str) -> tuple[str, ...]:
        notes = []
        # The window of the first layer stands for those of all where they differ; only chunks are padded.
        window = getattr(self.config, "window", None)
        context = sum(window if isinstance(window[0], int) else window[0]) if window else 0
        if context and length % context and self.config._attn_implementation == "chunks":
            frames = padded(length, context)
            notes.append(f"attention padded to {frames} frames, a multiple of the context {context}")
        if mode == "train":
            notes.append("layer drop and SpecAugment are off, because they make the step random")
        return tuple(notes)


def hubert_config(size: str, **more: Any) -> HubertConfig:
    """The configuration of hubert-base-ls960, or of a tiny model of the same architecture."""
    published: dict[str, Any] = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout": 0.1,
        "activation_dropout": 0.1,
        "attention_dropout": 0.1,
        "feat_proj_dropout": 0.0,
        "feat_proj_layer_norm": True,
        "feat_extract_norm": "group",
        "feat_extract_activation": "gelu",
        "conv_dim": (512,) * 7,
        "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
        "conv_stride": (5, 2, 2, 2, 2, 2, 2),
        "conv_bias": False,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
        "do_stable_layer_norm": False,
        "layer_norm_eps": 1e-5,
    }
    tiny = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }
    return HubertConfig(**published | (tiny if size == "tiny" else {}) | more)


def hubert(size: str) -> Blueprint:
    """hubert-base-ls960."""
    return Blueprint(HubertModel, hubert_config(size))

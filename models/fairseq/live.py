"""The settings and weights of a live HuBERT of fairseq's, read off its modules; fairseq itself is not imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyprof.errors import UsageError
from pyprof.models.fairseq.window import encoder_of


@dataclass(frozen=True)
class Source:
    """A HuBERT in fairseq's words: its settings, its weights, and those of a CTC head where it has one."""

    settings: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    head: Mapping[str, Tensor]


def body_of(model: Any) -> Any:
    """The HubertModel of a live model of fairseq's."""
    encoder_of(model)
    return model.w2v_encoder.w2v_model if hasattr(model, "w2v_encoder") else model


def inspect_live(model: Any) -> Source:
    """What the modules of a live model say; a model does not keep the settings that it was built from."""
    body = body_of(model)
    settings = _inspected(body)
    weights = body.state_dict()
    if body is model:
        return Source(settings, weights, {})
    outer = model.w2v_encoder
    settings |= {"final_dropout": outer.final_dropout.p, "apply_mask": bool(outer.apply_mask)}
    return Source(settings, weights, dict(outer.proj.state_dict()) if outer.proj is not None else {})


def _inspected(body: Any) -> dict[str, Any]:
    """The settings of a live HuBERT in fairseq's words, read off its modules."""
    blocks, encoder = body.feature_extractor.conv_layers, body.encoder
    convolutions = [block[0] for block in blocks]
    normalised = [len(block) > 3 for block in blocks]
    mode = "layer_norm" if all(normalised) and not isinstance(blocks[0][2], nn.GroupNorm) else "default"
    position = next((part for part in encoder.pos_conv if isinstance(part, nn.Conv1d)), None)
    if position is None:
        raise UsageError("the model's positions are not embedded by one convolution, as a HuBERT's are")
    layer = encoder.layers[0]
    return {
        "encoder_embed_dim": encoder.embedding_dim,
        "encoder_layers": len(encoder.layers),
        "encoder_attention_heads": layer.self_attn.num_heads,
        "encoder_ffn_embed_dim": layer.fc1.out_features,
        "activation_fn": _activation(layer.activation_fn),
        "layer_norm_first": bool(encoder.layer_norm_first),
        "extractor_mode": mode,
        "conv_feature_layers": [(conv.out_channels, conv.kernel_size[0], conv.stride[0]) for conv in convolutions],
        "conv_bias": convolutions[0].bias is not None,
        "conv_pos": position.kernel_size[0],
        "conv_pos_groups": position.groups,
        "conv_pos_batch_norm": any(isinstance(part, nn.BatchNorm1d) for part in encoder.pos_conv),
        "dropout": encoder.dropout,
        "attention_dropout": layer.self_attn.dropout_module.p,
        "activation_dropout": layer.dropout2.p,
        "dropout_input": body.dropout_input.p,
        "encoder_layerdrop": encoder.layerdrop,
        "mask_prob": body.mask_prob,
        "mask_length": body.mask_length,
        "mask_channel_prob": body.mask_channel_prob,
        "mask_channel_length": body.mask_channel_length,
        "feature_grad_mult": body.feature_grad_mult,
    }


def _activation(function: Any) -> str:
    """The name of an activation function, recognised by what it does to some numbers: fairseq keeps no name of it."""
    probe = torch.tensor([-3.0, -1.0, -0.1, 0.0, 0.3, 2.0])
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": nn.functional.relu,
        "gelu": nn.functional.gelu,
        "gelu_accurate": lambda x: nn.functional.gelu(x, approximate="tanh"),
        "tanh": torch.tanh,
        "linear": lambda x: x,
    }
    activated = function(probe)
    for name, candidate in known.items():
        if torch.allclose(activated, candidate(probe), rtol=0, atol=1e-6):
            return name
    return repr(function)

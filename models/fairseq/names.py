"""How fairseq's HuBERT and transformers' name the same settings and the same weights."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from pyprof.errors import UsageError

# fairseq's name of a setting, transformers' name, and what fairseq takes where a configuration leaves it out.
_SETTINGS: tuple[tuple[str, str, Any], ...] = (
    ("encoder_embed_dim", "hidden_size", 768),
    ("encoder_layers", "num_hidden_layers", 12),
    ("encoder_attention_heads", "num_attention_heads", 12),
    ("encoder_ffn_embed_dim", "intermediate_size", 3072),
    ("layer_norm_first", "do_stable_layer_norm", False),
    ("conv_bias", "conv_bias", False),
    ("conv_pos", "num_conv_pos_embeddings", 128),
    ("conv_pos_groups", "num_conv_pos_embedding_groups", 16),
    ("conv_pos_batch_norm", "conv_pos_batch_norm", False),
    ("dropout", "hidden_dropout", 0.1),
    ("attention_dropout", "attention_dropout", 0.1),
    ("activation_dropout", "activation_dropout", 0.0),
    ("dropout_input", "feat_proj_dropout", 0.0),
    ("encoder_layerdrop", "layerdrop", 0.0),
    ("final_dropout", "final_dropout", 0.0),
    ("apply_mask", "apply_spec_augment", False),
    ("mask_prob", "mask_time_prob", 0.65),
    ("mask_length", "mask_time_length", 10),
    ("mask_channel_prob", "mask_feature_prob", 0.0),
    ("mask_channel_length", "mask_feature_length", 10),
)
_MOST_CONVOLUTIONS = 100
_CONVOLUTIONS = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
# fairseq's gelu is the exact one; its accurate and its fast one are the same approximation by tanh.
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_new",
    "tanh": "tanh",
    "linear": "linear",
}
_EXTRACTORS = {"default": "group", "layer_norm": "layer"}

_SUFFIX = r"\.(weight|bias)"
_CONV, _NORM = "encoder.pos_conv_embed.conv.", "encoder.pos_conv_embed.batch_norm."
_MAGNITUDE, _DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
_COMMON: tuple[tuple[str, str], ...] = (
    (r"mask_emb", "masked_spec_embed"),
    (r"feature_extractor\.conv_layers\.(\d+)\.0" + _SUFFIX, r"feature_extractor.conv_layers.\1.conv.\2"),
    (r"feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?" + _SUFFIX, r"feature_extractor.conv_layers.\1.layer_norm.\2"),
    (r"layer_norm" + _SUFFIX, r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj" + _SUFFIX, r"feature_projection.projection.\1"),
    (r"encoder\.layer_norm" + _SUFFIX, r"encoder.layer_norm.\1"),
    (r"encoder\.layers\.(\d+)\.self_attn\.([qkv]|out)_proj" + _SUFFIX, r"encoder.layers.\1.attention.\2_proj.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm" + _SUFFIX, r"encoder.layers.\1.layer_norm.\2"),
    (r"encoder\.layers\.(\d+)\.fc1" + _SUFFIX, r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
    (r"encoder\.layers\.(\d+)\.fc2" + _SUFFIX, r"encoder.layers.\1.feed_forward.output_dense.\2"),
    (r"encoder\.layers\.(\d+)\.final_layer_norm" + _SUFFIX, r"encoder.layers.\1.final_layer_norm.\2"),
)
# Weight normalisation has had two ways of naming its magnitude and its direction; both are read, the newer is written.
_NORMED: tuple[tuple[str, str], ...] = (
    (r"encoder\.pos_conv\.0\.bias", _CONV + "bias"),
    (r"encoder\.pos_conv\.0\.(?:weight_g|parametrizations\.weight\.original0)", _CONV + _MAGNITUDE),
    (r"encoder\.pos_conv\.0\.(?:weight_v|parametrizations\.weight\.original1)", _CONV + _DIRECTION),
    (r"encoder\.pos_conv\.0\.weight", _CONV + "weight"),
)
_BATCH_NORMED: tuple[tuple[str, str], ...] = (
    (r"encoder\.pos_conv\.0\.(weight|bias|running_mean|running_var|num_batches_tracked)", _NORM + r"\1"),
    (r"encoder\.pos_conv\.1" + _SUFFIX, _CONV + r"\1"),
)
# Heads of the pretraining task, which transformers' classes do not have.
_PRETRAINING = re.compile(r"label_embs_concat|final_proj\.(weight|bias)|target_glu\.0\.(weight|bias)")


def transformers_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of transformers' HubertConfig for fairseq's settings of a HuBERT.

    Raises UsageError for a setting that transformers' HuBERT does not have.
    """
    kind = settings.get("layer_type", "transformer")
    if kind != "transformer":
        raise UsageError(f"a HuBERT of {kind!r} layers has no counterpart in transformers: give one of 'transformer'")
    made = {theirs: _number(ours, settings.get(ours, default), default) for ours, theirs, default in _SETTINGS}
    made["hidden_act"] = _choice("activation_fn", settings.get("activation_fn", "gelu"), _ACTIVATIONS)
    made["feat_extract_norm"] = _choice("extractor_mode", settings.get("extractor_mode", "default"), _EXTRACTORS)
    layers = convolutions(settings.get("conv_feature_layers", _CONVOLUTIONS))
    made["conv_dim"], made["conv_kernel"], made["conv_stride"] = zip(*layers, strict=True)
    made["feat_extract_activation"] = "gelu"
    return made


def _number(name: str, value: Any, default: Any) -> Any:
    """A setting in the type of its default; raises UsageError where it is not a number of that type."""
    if not isinstance(value, (int, float)) or type(default)(value) != value:
        raise UsageError(f"the model's {name} is {value!r} and not of the type {type(default).__name__}")
    return type(default)(value)


def _choice(name: str, value: Any, choices: Mapping[str, str]) -> str:
    if value not in choices:
        raise UsageError(f"the model's {name} is {value!r}, which cannot be converted: only {', '.join(choices)} can")
    return choices[value]


def convolutions(text: Any) -> list[tuple[int, int, int]]:
    """(channels, kernel, stride) of the feature extractor's layers from fairseq's text, which is Python source.

    fairseq evaluates it; here only lists and tuples of numbers, their sums and multiples are read. Raises UsageError
    for anything else.
    """
    try:
        layers = _literal(ast.parse(str(text).strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"conv_feature_layers is no list of (channels, kernel, stride): {text!r}") from error
    if not layers or not isinstance(layers, list) or not all(_is_layer(layer) for layer in layers):
        raise UsageError(f"conv_feature_layers is no list of (channels, kernel, stride): {text!r}")
    return layers


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, tuple) and len(layer) == 3 and all(isinstance(part, int) and part > 0 for part in layer)


def _literal(node: ast.expr) -> Any:
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _literal(left) + _literal(right)
        case ast.BinOp(left, ast.Mult(), ast.Constant(int() as times)):
            part = _literal(left)
            if len(part) * times > _MOST_CONVOLUTIONS:
                raise ValueError(f"{len(part) * times} layers")
            return part * times
        case ast.List(elements):
            return [_literal(element) for element in elements]
        case ast.Tuple(elements):
            return tuple(_literal(element) for element in elements)
        case ast.Constant(int() as number):
            return number
    raise ValueError(ast.dump(node))


def renamed(names: Iterable[str], batch_norm: bool) -> dict[str, str]:
    """What transformers calls each of fairseq's weights of a HuBERT; those of the pretraining heads are left out.

    Raises UsageError that lists all names that are no HuBERT's.
    """
    table = [(re.compile(ours), theirs) for ours, theirs in (*_COMMON, *(_BATCH_NORMED if batch_norm else _NORMED))]
    made, unknown = {}, []
    for name in names:
        if _PRETRAINING.fullmatch(name):
            continue
        rule = next(((match, theirs) for ours, theirs in table if (match := ours.fullmatch(name))), None)
        if rule is None:
            unknown.append(name)
        else:
            made[name] = rule[0].expand(rule[1])
    if unknown:
        raise UsageError(f"the model has {len(unknown)} weights that no HuBERT has: {', '.join(sorted(unknown))}")
    return made


def transformers_weights(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of a HubertModel for fairseq's weights, with `settings` from `transformers_settings`.

    Where fairseq has one part less, its counterpart is made such that it changes nothing.
    """
    names = renamed(weights, settings["conv_pos_batch_norm"])
    made = {names[name]: tensor for name, tensor in weights.items() if name in names}
    folded = made.pop(_CONV + "weight", None) if not settings["conv_pos_batch_norm"] else None
    if folded is not None:
        # The normalisation was folded into the weight; transformers' convolution always has it, one per position.
        made[_CONV + _MAGNITUDE] = torch.linalg.vector_norm(folded, dim=(0, 1), keepdim=True)
        made[_CONV + _DIRECTION] = folded
    width, features = settings["hidden_size"], settings["conv_dim"][-1]
    projection = "feature_projection.projection."
    if projection + "weight" not in made and width == features and made:
        like = next(iter(made.values()))
        made[projection + "weight"] = torch.eye(width, dtype=like.dtype, device=like.device)
        made[projection + "bias"] = torch.zeros(width, dtype=like.dtype, device=like.device)
    if settings["mask_time_prob"] <= 0 and settings["mask_feature_prob"] <= 0:
        # transformers has the vector of masked frames only where frames may be masked.
        made.pop("masked_spec_embed", None)
    return made

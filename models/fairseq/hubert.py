"""fairseq's HuBERT, live or in a checkpoint file, as transformers' classes with the same weights and outputs.

Nothing here imports fairseq: a live model is recognised by its modules, a file is read as data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.hubert.configuration_hubert import HubertConfig
from transformers.models.hubert.modeling_hubert import HubertForCTC, HubertModel

from pyprof.errors import UsageError
from pyprof.failures import guarded
from pyprof.layers.snapshot import given_back
from pyprof.models.fairseq.checkpoint import FairseqCheckpoint, read_checkpoint
from pyprof.models.fairseq.live import Source, body_of, inspect_live
from pyprof.models.fairseq.names import renamed, transformers_settings, transformers_weights
from pyprof.models.fairseq.window import WindowAttentionHandle, to_window_attention

__all__ = [
    "FairseqCheckpoint",
    "WindowAttentionHandle",
    "from_fairseq",
    "read_checkpoint",
    "sample_mask",
    "to_window_attention",
]

_CTC, _SEQ2SEQ = "w2v_encoder.", "encoder.w2v_model."
_BODY = "w2v_model."
# What a fine-tuned model's own settings say about its body, and what the body calls it.
_FINE_TUNED = {
    "dropout": "dropout",
    "activation_dropout": "activation_dropout",
    "attention_dropout": "attention_dropout",
    "dropout_input": "dropout_input",
    "layerdrop": "encoder_layerdrop",
    "final_dropout": "final_dropout",
    "apply_mask": "apply_mask",
    "mask_prob": "mask_prob",
    "mask_length": "mask_length",
    "mask_channel_prob": "mask_channel_prob",
    "mask_channel_length": "mask_channel_length",
    "feature_grad_mult": "feature_grad_mult",
}


def from_fairseq(
    source: nn.Module | FairseqCheckpoint | str | Path,
    context: int | None = 32,
    *,
    window: Any = None,
    trust_pickle: bool = False,
) -> Any:
    """A fairseq HuBERT as a transformers model with the same weights and, in eval mode, the same hidden states.

    Args:
        source: a live HubertModel or HubertCtc of fairseq, the path of a checkpoint of either, or what
            `read_checkpoint` returned. It stays as it is.
        context: neighbours that a query of the resulting L-HuBERT sees, half of them on each side; with None the
            result is the full HuBERT.
        window: a pair (left, right), or one pair for each layer, in place of the context.
        trust_pickle: see `read_checkpoint`, which never runs code of the file without it.

    Returns:
        An LHubertModel or LHubertForCTC; a HubertModel or HubertForCTC without a context. From a file it is float32,
        on the CPU and in eval mode; otherwise as the live model. Its `last_hidden_state` is what fairseq's
        ``extract_features(source, mask=False)`` returns. Frames are masked in training (SpecAugment) only where a
        fine-tuned model was trained so. A scaled-down gradient of the feature extractor (feature_grad_mult) has no
        counterpart, unless it is 0: then the extractor is frozen. For padded batches see `sample_mask`.

    Raises:
        UsageError: the source is no HuBERT, has weights that no HuBERT has (all are listed) or lacks some, or has a
            setting that transformers does not know.
    """
    with given_back():  # building a model draws random numbers, even on the meta device
        model = _hubert(source, trust_pickle)
    if context is None and window is None:
        return model
    from pyprof.models.l_hubert import from_hubert

    return from_hubert(model, 32 if context is None else context, window=window)


def sample_mask(padding_mask: Tensor, config: Any) -> Tensor:
    """The attention_mask with which transformers' HuBERT sees the very frames that fairseq's sees.

    `padding_mask` is fairseq's: (batch, samples), true where padded, on the right only. The result is like it, int64, 1
    where not padded. The two libraries round the number of frames of a shorter example differently: fairseq divides
    the samples evenly among the frames and keeps a frame that has any sample, transformers asks what the convolutions
    would make of the samples alone. Raises UsageError for padding that is not on the right, or for an empty example.
    """
    samples, positions = padding_mask.shape[1], torch.arange(padding_mask.shape[1], device=padding_mask.device)
    lengths = (~padding_mask.bool()).sum(dim=1)
    if not torch.equal(padding_mask.bool(), positions >= lengths[:, None]) or int(lengths.min()) < 1:
        raise UsageError("a padding_mask has to be false for at least one sample, and then true to the end")
    frames, layers = samples, [*zip(config.conv_kernel, config.conv_stride, strict=True)]
    for kernel, stride in layers:
        frames = (frames - kernel) // stride + 1
    share = samples // frames
    needed = (torch.div(lengths - 1, share, rounding_mode="floor") + 1).clamp(max=frames)
    for kernel, stride in reversed(layers):
        needed = (needed - 1) * stride + kernel
    return (positions < needed[:, None]).long()


def _hubert(source: Any, trust_pickle: bool) -> Any:
    if isinstance(source, nn.Module):
        model = _built(inspect_live(source))
        _freeze(model, source)
        return model.train(source.training)
    checkpoint = source
    if not isinstance(source, FairseqCheckpoint):
        checkpoint = read_checkpoint(source, trust_pickle=trust_pickle)
    return _built(_stored(checkpoint)).eval()


def _freeze(model: Any, source: Any) -> None:
    """Freeze what is frozen in a live model."""
    body, frozen = model.base_model, body_of(source)
    names = renamed((name for name, _ in frozen.named_parameters()), body.config.conv_pos_batch_norm)
    made = dict(body.named_parameters())
    for name, parameter in frozen.named_parameters():
        if not parameter.requires_grad and names.get(name) in made:
            made[names[name]].requires_grad_(False)
    if body is not model:
        for name, parameter in source.w2v_encoder.proj.named_parameters():
            model.lm_head.get_parameter(name).requires_grad_(parameter.requires_grad)


def _built(source: Source) -> Any:
    """The transformers model of a source, whose tensors it copies."""
    settings = transformers_settings(source.settings)
    weights = transformers_weights(source.weights, settings)
    kind: Any = HubertModel
    if source.head:
        kind, settings = HubertForCTC, settings | {"vocab_size": source.head["weight"].shape[0]}
        weights = {f"hubert.{name}": tensor for name, tensor in weights.items()}
        weights |= {f"lm_head.{name}": tensor for name, tensor in source.head.items()}
    config = guarded("transformers does not take the model's settings", HubertConfig, **settings)
    with torch.device("meta"):
        model = guarded("transformers cannot build the model", kind, config)
    _check(weights, model.state_dict())
    model.load_state_dict({name: tensor.detach().clone() for name, tensor in weights.items()}, assign=True)
    if source.settings.get("feature_grad_mult", 1.0) == 0:
        model.freeze_feature_encoder() if source.head else model.feature_extractor._freeze_parameters()
    return model


def _check(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for what, names in (("are missing", wanted.keys() - weights.keys()), ("are more", weights.keys() - wanted.keys())):
        if names:
            raise UsageError(
                f"the weights do not fit the model's settings, of transformers' names {len(names)} {what}: "
                f"{', '.join(sorted(names))}"
            )
    for name, tensor in wanted.items():
        if weights[name].shape != tensor.shape:
            raise UsageError(
                f"the weights do not fit the model's settings: {name} has shape {tuple(weights[name].shape)}, "
                f"not {tuple(tensor.shape)}"
            )


def _stored(checkpoint: FairseqCheckpoint) -> Source:
    """What a checkpoint file says of a HuBERT."""
    own = checkpoint.settings.get("model", checkpoint.settings)
    if not isinstance(own, Mapping):
        raise UsageError(
            f"the model's settings in {checkpoint.path} are no dict but {own!r}: they cannot be read as data"
        )
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in checkpoint.weights.items()
    }
    if any(name.startswith(_SEQ2SEQ) for name in weights):
        raise UsageError(f"{checkpoint.path} is a sequence-to-sequence model: give a HuBERT, pretrained or with CTC")
    if not any(name.startswith(_CTC) for name in weights):
        _check_kind(checkpoint.path, own)
        return Source(own, weights, {})
    body = own.get("w2v_args")
    if not isinstance(body, Mapping):
        raise UsageError(
            f"{checkpoint.path} is fine-tuned and does not hold the settings of the model that it started from "
            f"(w2v_args), only its place ({own.get('w2v_path')}): give a file that fairseq's trainer saved"
        )
    body = body.get("model", body)
    _check_kind(checkpoint.path, body)
    settings = {**body, **{theirs: own[ours] for ours, theirs in _FINE_TUNED.items() if own.get(ours) is not None}}
    return _parted(settings, {name.removeprefix(_CTC): tensor for name, tensor in weights.items()})


def _check_kind(path: str, settings: Mapping[str, Any]) -> None:
    kind = settings.get("_name") or settings.get("arch") or "hubert"
    if not str(kind).startswith("hubert"):
        raise UsageError(f"{path} holds a model of the kind {kind!r}: give a HuBERT")


def _parted(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Source:
    """A fine-tuned model's body and head."""
    body = {name.removeprefix(_BODY): tensor for name, tensor in weights.items() if name.startswith(_BODY)}
    head = {name.removeprefix("proj."): tensor for name, tensor in weights.items() if name.startswith("proj.")}
    strange = sorted(name for name in weights if not name.startswith((_BODY, "proj.")))
    if strange:
        raise UsageError(f"the model has {len(strange)} weights that no HuBERT has: {', '.join(strange)}")
    return Source(settings, body, head)

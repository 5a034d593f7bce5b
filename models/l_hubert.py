"""L-HuBERT: HuBERT whose self-attention sees a window of neighbours only (Diwan, Choi, Harwath, ACL 2023).

Importing this makes the classes known to transformers, so that AutoConfig, AutoModel and AutoModelForCTC load what
`save_pretrained` wrote without any remote code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCTC
from transformers.models.hubert.modeling_hubert import HubertForCTC, HubertModel, HubertPreTrainedModel

from pyprof.errors import UsageError
from pyprof.layers.snapshot import given_back
from pyprof.models.blueprint import Blueprint
from pyprof.models.l_hubert_config import LHubertConfig, checked_implementation, l_hubert_config
from pyprof.models.speech import hubert_config
from pyprof.ops import interface

__all__ = ["LHubertConfig", "LHubertForCTC", "LHubertModel", "LHubertPreTrainedModel", "from_hubert"]


class LHubertPreTrainedModel(HubertPreTrainedModel):  # type: ignore[misc]
    """What all L-HuBERTs share: only implementations that honour the window run, and `fused` runs by default."""

    config: LHubertConfig
    config_class = LHubertConfig

    def get_correct_attn_implementation(self, requested_attention: str | None, is_init_check: bool = False) -> str:
        return checked_implementation(requested_attention)


class LHubertModel(LHubertPreTrainedModel, HubertModel):  # type: ignore[misc]
    """HuBERT with a window of self-attention for each layer; see `LHubertConfig`.

    It takes what HubertModel takes, and in training also inputs shorter than a span of SpecAugment's masks. An
    `attention_mask` (batch, samples) has to be of padding on the right. There are no attention weights to be returned.
    Raises UsageError for either.
    """

    def __init__(self, config: LHubertConfig) -> None:
        if not hasattr(config, "window"):
            raise UsageError(f"{type(config).__name__} has no window: give an LHubertConfig")
        interface.install()
        super().__init__(config)
        for index, layer in enumerate(self.encoder.layers):
            # HuBERT's attention does not know which layer it is in, and windows may differ between layers.
            layer.attention.layer_idx = index

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        mask_time_indices: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if kwargs.pop("output_attentions", None) or self.config.output_attentions:
            raise UsageError("L-HuBERT never forms attention weights: leave output_attentions out")
        if attention_mask is not None:
            _check_padding(attention_mask, self._shortest)
        return super().forward(input_values, attention_mask, mask_time_indices, **kwargs)

    def _mask_hidden_states(
        self, hidden_states: Tensor, mask_time_indices: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Any:
        """SpecAugment as HuBERT has it; of an input shorter than a masked span, which HuBERT refuses, no frame is."""
        batch, frames, _ = hidden_states.shape
        if mask_time_indices is None and self._masks_time and frames < self.config.mask_time_length:
            mask_time_indices = torch.zeros(batch, frames, dtype=torch.bool, device=hidden_states.device)
        return super()._mask_hidden_states(hidden_states, mask_time_indices, attention_mask)

    @property
    def _masks_time(self) -> bool:
        return bool(self.training and self.config.apply_spec_augment and self.config.mask_time_prob > 0)

    @property
    def _shortest(self) -> int:
        """How many samples make one frame."""
        samples = 1
        for kernel, stride in zip(reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return int(samples)


class LHubertForCTC(LHubertPreTrainedModel, HubertForCTC):  # type: ignore[misc]
    """L-HuBERT with a linear layer to characters and the CTC loss, as HubertForCTC has them."""

    def __init__(self, config: LHubertConfig, target_lang: str | None = None) -> None:
        # HubertForCTC's own constructor would build and initialise a HuBERT first, only to be thrown away.
        HubertPreTrainedModel.__init__(self, config)
        self.hubert = LHubertModel(config)
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.target_lang = target_lang
        self.post_init()


def _check_padding(mask: Tensor, shortest: int) -> None:
    """Raise UsageError unless a mask over samples is of padding on the right that leaves at least one frame.

    transformers counts the ones in a row and takes them to stand at its beginning, wherever they stand.
    """
    if torch.compiler.is_compiling():
        # A traced program cannot raise by a value; this fails when the program runs, without breaking the graph.
        torch._assert_async((mask[:, 1:] <= mask[:, :-1]).all(), "L-HuBERT takes padding on the right only")
        return
    if bool((mask[:, 1:] > mask[:, :-1]).any()):
        raise UsageError("L-HuBERT takes padding on the right only: give an attention_mask of ones, then zeros")
    fewest = int(mask.sum(dim=-1).min())
    if fewest < shortest:
        raise UsageError(
            f"an example has {fewest} samples, fewer than the {shortest} of one frame: leave it out of the batch"
        )


def from_hubert(source: Any, context: int = 32, *, window: Any = None) -> LHubertPreTrainedModel:
    """An L-HuBERT with all weights of a HuBERT, which stays as it is.

    `source` is a HubertModel, a HubertForCTC, or the directory of a local checkpoint of either with safetensors; the
    result is an LHubertModel or an LHubertForCTC in the same dtype, on the same device, with each module in the mode of
    the source's. A query sees `context` neighbours, half of them on each side; `window` gives a pair
    (left, right), or one pair for each layer, in its place. The random state is as it was. Raises UsageError for
    anything else.
    """
    with given_back():
        if not isinstance(source, nn.Module):
            from pyprof.models.checkpoint import load_hubert

            source = load_hubert(str(source))
        return _converted(source, context, window)


def _converted(source: nn.Module, context: int, window: Any) -> LHubertPreTrainedModel:
    kinds = {HubertModel: LHubertModel, HubertForCTC: LHubertForCTC}
    kind = kinds.get(type(source))
    if kind is None:
        raise UsageError(
            f"an L-HuBERT is made of a HubertModel or a HubertForCTC, not of {type(source).__name__}: give one of them"
        )
    config = l_hubert_config(source.config, context, window)
    with torch.device("meta"):
        made = kind(config)
    weights = {name: tensor.detach().clone() for name, tensor in source.state_dict().items()}
    made.load_state_dict(weights, strict=True, assign=True)
    frozen = {name for name, parameter in source.named_parameters() if not parameter.requires_grad}
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(name not in frozen)
    for name, module in made.named_modules():
        module.training = source.get_submodule(name).training
        if hasattr(module, "_requires_grad"):
            # A frozen feature encoder keeps a flag of its own beside its parameters'.
            module._requires_grad = source.get_submodule(name)._requires_grad
    return made


def context_32(size: str) -> Blueprint:
    """A window of 16 neighbours on each side."""
    return _l_hubert(size, 32)


def context_100(size: str) -> Blueprint:
    """A window of 50 neighbours on each side."""
    return _l_hubert(size, 100)


def _l_hubert(size: str, context: int) -> Blueprint:
    return Blueprint(LHubertModel, l_hubert_config(hubert_config(size), context))


AutoConfig.register(LHubertConfig.model_type, LHubertConfig, exist_ok=True)
AutoModel.register(LHubertConfig, LHubertModel, exist_ok=True)
AutoModelForCTC.register(LHubertConfig, LHubertForCTC, exist_ok=True)

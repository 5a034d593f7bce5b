"""A live fairseq HuBERT as an L-HuBERT, in place: its attention layers see a window of neighbours only."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from pyprof.errors import UsageError
from pyprof.models.windows import window_of_context, windows
from pyprof.ops.window_attention import window_attention


def to_window_attention(
    model: nn.Module, context: int = 32, *, window: Any = None, impl: str = "auto"
) -> WindowAttentionHandle:
    """Make a live HuBERT of fairseq's an L-HuBERT, by replacing what its attention layers compute.

    Weights, their names, hooks and the mode stay as they are; training works. The layers take a key_padding_mask of
    padding on the right, and nothing that a window has no meaning for: another mask, incremental state, a key of
    another sequence, a wish for attention weights.

    Args:
        model: a HubertModel or HubertCtc of fairseq.
        context: neighbours that a query sees, half of them on each side, itself not counted.
        window: a pair (left, right), or one pair for each layer, in place of the context.
        impl: the implementation of `pyprof.window_attention`.

    Returns:
        A handle whose `restore()` makes the model what it was; used as a context manager it restores at the end.

    Raises:
        UsageError: the model is no HuBERT, is changed already, or a layer is not plain self-attention. Nothing is
            changed then. The layers raise it for what they do not take.
    """
    layers = [layer.self_attn for layer in encoder_of(model).layers]
    pairs = windows(window_of_context(context) if window is None else window, len(layers))
    each = [pairs] * len(layers) if isinstance(pairs[0], int) else list(pairs)
    for layer in layers:
        _check_layer(layer)
    lengths = _KeyLengths()
    forwards = [_Forward(layer, pair, impl, lengths) for layer, pair in zip(layers, each, strict=True)]
    return WindowAttentionHandle(forwards)


def encoder_of(model: Any) -> Any:
    """The transformer encoder of a live HubertModel or HubertCtc of fairseq's; raises UsageError for all others."""
    body = getattr(getattr(model, "w2v_encoder", None), "w2v_model", model)
    encoder = getattr(body, "encoder", None)
    layers: Any = getattr(encoder, "layers", None)
    parts = (getattr(body, "feature_extractor", None), getattr(encoder, "pos_conv", None), layers)
    if not all(isinstance(part, nn.Module) for part in parts) or not hasattr(body, "mask_emb"):
        raise UsageError(
            f"{type(model).__name__} is no HuBERT of fairseq's: give its HubertModel or HubertCtc, or the path of a "
            "checkpoint"
        )
    for layer in layers:
        if not (hasattr(layer, "self_attn") and hasattr(layer, "fc1")) or hasattr(layer, "adapter_layer"):
            raise UsageError(f"a HuBERT of {type(layer).__name__} is not known: give one of plain transformer layers")
    return encoder


def _check_layer(layer: Any) -> None:
    if isinstance(vars(layer).get("forward"), _Forward):
        raise UsageError("the model has window attention already: restore it first")
    wanted = ("q_proj", "k_proj", "v_proj", "out_proj", "num_heads", "scaling", "dropout_module")
    plain = all(hasattr(layer, name) for name in wanted) and not getattr(layer, "encoder_decoder_attention", False)
    extra = getattr(layer, "bias_k", None) is not None or getattr(layer, "add_zero_attn", False)
    if not plain or extra or getattr(layer, "use_xformers", False):
        raise UsageError(f"a layer of the model ({type(layer).__name__}) is no plain self-attention: it has no window")


class WindowAttentionHandle:
    """Gives a model its own attention back; see `to_window_attention`."""

    def __init__(self, forwards: list[_Forward]) -> None:
        self._changed = [(forward, vars(forward.layer).get("forward")) for forward in forwards]
        for forward in forwards:
            # In the instance, where it hides the class's method and is no part of the state dict.
            forward.layer.forward = forward

    @property
    def windows(self) -> tuple[tuple[int, int], ...]:
        """The window (left, right) of each layer."""
        return tuple(forward.window for forward, _ in self._changed)

    def restore(self) -> None:
        """Make the attention layers what they were; does nothing the second time.

        Raises UsageError where somebody else has replaced a layer's forward since, who has to be undone first.
        """
        for forward, _ in self._changed:
            if vars(forward.layer).get("forward") is not forward:
                raise UsageError("a layer's forward was replaced after it got window attention: undo that first")
        for forward, before in self._changed:
            if before is None:
                del forward.layer.forward
            else:
                forward.layer.forward = before
        self._changed = []

    def __enter__(self) -> WindowAttentionHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()


class _KeyLengths:
    """Numbers of keys from padding masks; all layers get the same mask, and checking it waits for the device."""

    def __init__(self) -> None:
        self._last: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def __deepcopy__(self, _: Any) -> _KeyLengths:
        return _KeyLengths()

    def __reduce__(self) -> tuple[type[_KeyLengths], tuple[()]]:
        return _KeyLengths, ()

    def of(self, mask: Tensor) -> Tensor:
        """(batch,), int64, for a mask (batch, length) that is true where padded, on the right only."""
        # A tensor of inference mode does not count its versions, so it has to be checked every time.
        version = None if mask.is_inference() else mask._version
        if self._last is not None and self._last[0]() is mask and self._last[1] == version:
            return self._last[2]
        padded = mask.bool()
        lengths = (~padded).sum(dim=1)
        if not torch.equal(padded, torch.arange(mask.shape[1], device=mask.device) >= lengths[:, None]):
            raise UsageError("window attention takes padding on the right only: give such a key_padding_mask")
        self._last = None if version is None else (weakref.ref(mask), version, lengths)
        return lengths


@dataclass
class _Forward:
    """What a layer computes in place of its class's forward.

    An object that can be copied and pickled with its layer: a copied model then computes with its own weights.
    """

    layer: Any = field(repr=False)
    window: tuple[int, int]
    impl: str
    key_lengths: _KeyLengths = field(repr=False)

    def __call__(
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        key_padding_mask: Tensor | None = None,
        incremental_state: Any = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Tensor | None = None,
        before_softmax: bool = False,
        need_head_weights: bool = False,
    ) -> tuple[Tensor, None]:
        """Self-attention of (length, batch, channels) within the window: the same shape, and no weights."""
        if key is not query or value is not query:
            raise UsageError("window attention is self-attention: pass one tensor as query, key and value")
        if incremental_state is not None or static_kv or attn_mask is not None:
            raise UsageError("window attention takes neither incremental state nor an attn_mask: leave them out")
        if need_weights or need_head_weights or before_softmax:
            raise UsageError("window attention never forms its weights: pass need_weights=False")
        layer = self.layer
        length, batch, channels = query.shape
        shape = (length, batch, layer.num_heads, channels // layer.num_heads)
        projections = (layer.q_proj, layer.k_proj, layer.v_proj)
        # (length, batch, heads, head_dim) is viewed as (batch, heads, length, head_dim), without a copy.
        heads = [projection(query).view(shape).permute(1, 2, 0, 3) for projection in projections]
        dropout = layer.dropout_module
        active = layer.training or getattr(dropout, "apply_during_inference", False)
        output = window_attention(
            heads[0],
            heads[1],
            heads[2],
            self.window,
            key_lengths=None if key_padding_mask is None else self.key_lengths.of(key_padding_mask),
            scale=layer.scaling,
            dropout_p=dropout.p if active else 0.0,
            impl=self.impl,
        )
        return layer.out_proj(output.permute(2, 0, 1, 3).reshape(length, batch, channels)), None

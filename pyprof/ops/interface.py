"""Registration with transformers, so that any model that dispatches its attention through it can use a window.

A model chooses by name: fused (the native kernel), chunks, flex, or sdpa-mask. A layer's window is the attention
module's own `window`, else its configuration's (a pair, or one pair a layer), else its sliding window; a layer with
none of them attends to everything, which is PyTorch's dense attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

from pyprof.errors import UsageError
from pyprof.ops.arguments import check_window
from pyprof.ops.chunks import chunked_attention
from pyprof.ops.flex import flex_window_attention
from pyprof.ops.sdpa import sdpa_window_attention
from pyprof.ops.window_attention import window_attention


class WindowAttention(Protocol):
    """Attention of every query to itself and `window` (left, right) neighbours: see `pyprof.window_attention`."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        window: tuple[int, int],
        *,
        key_lengths: Tensor | None = None,
        scale: float | None = None,
        dropout_p: float = 0.0,
    ) -> Tensor: ...


IMPLEMENTATIONS: dict[str, WindowAttention] = {
    "chunks": chunked_attention,
    "fused": window_attention,
    "flex": flex_window_attention,
    "sdpa-mask": sdpa_window_attention,
}
# What a model may ask of attention beside a window; a computation that left it out would be another one.
_BEYOND_WINDOWS = ("position_bias", "s_aux", "sinks", "softcap")


def install() -> None:
    """Register every known implementation; transformers would silently drop the padding mask of an unregistered one."""
    for name, implementation in tuple(IMPLEMENTATIONS.items()):
        if name not in AttentionInterface():
            register(name, implementation)


def register(name: str, implementation: WindowAttention) -> None:
    """Make an implementation selectable by name, as `attn_implementation` of any model that dispatches through it."""
    IMPLEMENTATIONS[name] = implementation

    def forward(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        **rest: Any,
    ) -> tuple[Tensor, None]:
        _check_supported(name, rest)
        causal = rest.get("is_causal")
        if causal is None:
            causal = getattr(module, "is_causal", True)  # transformers' own default
        window = window_of(module, rest.get("sliding_window"))
        if window is None:
            output = _dense(query, key, value, attention_mask, causal, scaling, dropout)
        else:
            _check_self_attention(name, query, key, attention_mask)
            window = (window[0], 0) if causal else window
            options: dict[str, Any] = {"key_lengths": attention_mask, "scale": scaling, "dropout_p": dropout}
            output = implementation(query, key, value, window, **options)
        return output.transpose(1, 2), None

    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, _key_lengths)


def window_of(module: nn.Module, sliding_window: int | None = None) -> tuple[int, int] | None:
    """The window (left, right) of an attention module, None where it attends to everything.

    It is `module.window`, else `module.config.window`, which is one pair or a list of one pair (or None) a layer, read
    at `module.layer_idx`; else `sliding_window` as transformers passes it on, the token itself counted. Raises
    UsageError for a window that is no pair, and for a module that does not say which layer it is.
    """
    window: Any = getattr(module, "window", None)
    if window is None:
        window = _of_layer(module, getattr(getattr(module, "config", None), "window", None))
    if window is not None:
        return check_window(window)
    return None if sliding_window is None else (sliding_window - 1, sliding_window - 1)


def _of_layer(module: nn.Module, window: Any) -> Any:
    if not isinstance(window, (list, tuple)) or (len(window) == 2 and all(isinstance(side, int) for side in window)):
        return window
    layer = getattr(module, "layer_idx", None)
    if not isinstance(layer, int) or layer >= len(window):
        name = type(module).__name__
        raise UsageError(
            f"config.window has a pair for each of {len(window)} layers and {name}.layer_idx is {layer}: give every "
            "attention module its layer_idx, or set config.window to one pair"
        )
    return window[layer]


def _check_supported(name: str, rest: dict[str, Any]) -> None:
    for asked in _BEYOND_WINDOWS:
        if rest.get(asked) is not None:
            raise UsageError(f"attention implementation {name!r} has no {asked}, which this model needs: use eager")


def _check_self_attention(name: str, query: Tensor, key: Tensor, attention_mask: Tensor | None) -> None:
    if query.shape[2] != key.shape[2]:
        raise UsageError(
            f"attention implementation {name!r} has a window for self-attention only and got {query.shape[2]} queries "
            f"for {key.shape[2]} keys: set use_cache=False, and give cross-attention no window"
        )
    if attention_mask is not None and attention_mask.dim() != 1:
        raise UsageError(
            f"attention implementation {name!r} takes a padding mask (batch, length) and got a mask of shape "
            f"{tuple(attention_mask.shape)}: pass the model its padding mask, not a prepared one"
        )


def _dense(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float | None, dropout_p: float
) -> Tensor:
    """All to all: `mask` is what the mask function made, or a mask (batch, 1, length, keys) that the model prepared."""
    if mask is not None and mask.dim() == 1:
        # Right-padded keys come after every query that counts, so a causal layer needs no mask against them.
        mask = None if causal else (torch.arange(key.shape[2], device=key.device) < mask[:, None])[:, None, None]
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout_p,
        is_causal=causal and mask is None and query.shape[2] > 1,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _key_lengths(
    *,
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Tensor],
    attention_mask: Tensor | None = None,
    local_size: int | None = None,
    **rest: Any,
) -> Tensor | None:
    """What transformers passes on as `attention_mask`: how many keys of each sequence take part, (batch,), int64.

    transformers calls this once a forward pass for every kind of layer. None when there is no padding. Raises
    UsageError for padding on the left or inside, and for masks that are no window.
    """
    causal = "allow_is_bidirectional_skip" not in rest
    if causal and (q_length != kv_length or kv_offset != 0):
        raise UsageError("window attention cannot continue from a cache of keys: set use_cache=False")
    # transformers says so of packed sequences and blocks, and looks at no mask function by itself.
    changed = rest.get("use_vmap") or (causal and not rest.get("allow_is_causal_skip", True))
    if changed or not _is_window(mask_function, causal, local_size, kv_length):
        raise UsageError(
            "window attention takes a model's window and its padding mask, and this model adds a mask of its own "
            "(packed sequences, blocks or chunks): use attn_implementation='sdpa'"
        )
    return None if attention_mask is None else _right_padding(attention_mask[:, :kv_length])


def _right_padding(mask: Tensor) -> Tensor | None:
    lengths = mask.sum(dim=-1, dtype=torch.int64)
    right_padded = (mask == (torch.arange(mask.shape[1], device=mask.device) < lengths[:, None])).all()
    if torch.compiler.is_compiling():
        # A graph cannot branch on what a mask holds: the check runs inside it.
        torch._assert_async(right_padded, "window attention takes padding on the right only")
        return lengths
    # One wait for the device for both answers.
    right, full = torch.stack((right_padded, mask.all())).tolist()
    if not right:
        raise UsageError("window attention takes padding on the right only: set padding_side='right' in the tokenizer")
    return None if full else lengths


def _is_window(mask_function: Callable[..., Tensor], causal: bool, local_size: int | None, length: int) -> bool:
    """Whether a mask function of transformers is what a window says: looked at around the window's edges."""
    if local_size is None:
        return mask_function is (causal_mask_function if causal else bidirectional_mask_function)
    if torch.compiler.is_compiling():
        return True
    left, right = (local_size - 1, 0) if causal else (local_size, local_size)
    query = torch.tensor(sorted({0, 1, local_size - 1, local_size, length // 2, length - 1}))
    query = query[(query >= 0) & (query < length)][:, None]
    key = query + torch.tensor([-left - 1, -left, -1, 0, 1, right, right + 1])
    inside = (key >= 0) & (key < length)
    zero = torch.zeros((), dtype=torch.int64)
    seen = mask_function(zero, zero, query, key.clamp(0, length - 1)).expand(key.shape)
    expected = (key >= query - left) & (key <= query + right)
    return bool((seen == expected)[inside].all())

"""Global keys beside a kernel that has none: the first keys by plain products, joined to the window by its log-sum-exp.

That is how float32 has them on CUDA. No tensor is larger than length x global keys.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from pyprof.ops import operator
from pyprof.ops.arguments import Arguments
from pyprof.ops.sdpa import without_padding

# In place of minus infinity, of which gradients would be no numbers.
_NOTHING = -1e30


def needs_columns(arguments: Arguments, impl: str) -> bool:
    """Whether the kernel of an implementation leaves the global keys of these arguments to `with_columns`."""
    return impl == "cuda" and arguments.query.dtype == torch.float32 and arguments.global_keys > 0


def with_columns(arguments: Arguments, impl: str) -> tuple[Tensor, Tensor]:
    """`operator.call` for a kernel without global keys: (output, log-sum-exp) of the window and of the first keys."""
    output, lse = operator.call(dataclasses.replace(arguments, global_keys=0), impl)
    query, (_, heads, length, _) = arguments.query, arguments.query.shape
    count = min(arguments.global_keys, length)
    shared = heads // max(arguments.key.shape[1], 1)
    key, value = (tensor[:, :, :count].repeat_interleave(shared, dim=1) for tensor in (arguments.key, arguments.value))
    if arguments.key_lengths is not None:
        key, value = without_padding(key, value, arguments.key_lengths)
    scores = (query @ key.mT).to(lse.dtype) * arguments.scale
    seen = _seen(arguments, count)
    parts = torch.cat((lse[..., None].clamp(min=_NOTHING), scores.masked_fill(~seen, _NOTHING)), dim=-1)
    visible = torch.cat((lse[..., None] > -torch.inf, seen.expand(scores.shape)), dim=-1)
    weights = parts.softmax(dim=-1).masked_fill(~visible, 0.0)
    of_keys = functional.dropout(weights[..., 1:], arguments.dropout_p) if arguments.dropout_p else weights[..., 1:]
    joined = output * weights[..., :1].to(output.dtype) + of_keys.to(value.dtype) @ value
    return joined, parts.logsumexp(dim=-1).masked_fill(~visible.any(dim=-1), -torch.inf)


def _seen(arguments: Arguments, count: int) -> Tensor:
    """Which of the first `count` keys lie before a query's window and take part, (batch or 1, 1, length, count)."""
    query = arguments.query
    places, keys = torch.arange(query.shape[2], device=query.device), torch.arange(count, device=query.device)
    seen = (keys < places[:, None] - arguments.window[0])[None, None]
    if arguments.key_lengths is None:
        return seen
    return seen & (keys < arguments.key_lengths[:, None, None, None])

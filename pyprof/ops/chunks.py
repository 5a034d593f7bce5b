"""Sliding-window attention in overlapping chunks (Beltagy, Peters, Cohan, "Longformer", 2020, section 3, appendix A).

It needs dense matrix products only. With a window of w neighbours on each side, queries and keys are cut into chunks of
2w tokens that overlap by w; the product of a chunk with itself holds every score of the band and about as many outside
of it. Padding each product by one row and reading it in rows of 2w + 1 turns its diagonals into columns, which are the
band.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pyprof.errors import UsageError
from pyprof.ops import by_diagonals


def chunked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: tuple[int, int],
    *,
    key_lengths: Tensor | None = None,
    key_mask: Tensor | None = None,
    scale: float | None = None,
    dropout_p: float = 0.0,
) -> Tensor:
    """Attention of every query to itself and `window` (left, right) neighbours, clipped at the edges.

    Shapes as in `pyprof.window_attention`, any length; `key_mask` (batch, length) is true for keys that take part, and
    `key_lengths` (batch,) says the same of keys that are padded on the right. `scale` is 1 / sqrt(head_dim) unless
    given. A query that sees no key gives zeros. What a query does not see does not reach it, NaN and infinities
    included; for that the tensors are looked at, but not while a CUDA graph is captured or torch.compile traces, where
    nothing may depend on what they hold. Raises UsageError for a window that is empty or not the same on both sides.
    """
    length = query.shape[2]
    left, right = (min(side, max(length - 1, 1)) for side in window)
    if left != right or left < 1:
        raise UsageError(f"overlapping chunks need as many neighbours left as right, at least 1, not {window}")
    side = left
    if key_lengths is not None:
        key_mask = torch.arange(length, device=query.device) < key_lengths[:, None]
    if key_mask is not None:
        key, value = (tensor.masked_fill(~key_mask.bool()[:, None, :, None], 0.0) for tensor in (key, value))
    padding = -length % (2 * side)
    query = _pad_tokens(query * (query.shape[-1] ** -0.5 if scale is None else scale), padding)
    key, value = (_pad_tokens(_for_every_head(tensor, query.shape[1]), padding) for tensor in (key, value))
    looked_at = _may_be_looked_at(query)
    finite = not looked_at or _all_finite(query, key, value)
    scores = _band_of_scores(query, key, side) if finite else by_diagonals.scores(query, key, side)
    visible = _visible(length, padding, side, key_mask, query.device)
    scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if key_mask is not None:
        weights = weights.masked_fill(~visible, 0.0)
    weights = functional.dropout(weights, p=dropout_p, training=dropout_p > 0.0)
    output = _apply_band(weights, value, side, looked_at) if finite else by_diagonals.outputs(weights, value, side)
    return output[:, :, :length]


def _may_be_looked_at(tensor: Tensor) -> bool:
    return not (torch.compiler.is_compiling() or (tensor.is_cuda and torch.cuda.is_current_stream_capturing()))


def _all_finite(*tensors: Tensor) -> bool:
    """Whether none holds NaN or an infinity; a sum that overflows counts as not finite, which costs time only."""
    with torch.no_grad():
        total = sum((tensor.sum(dtype=torch.float32) for tensor in tensors), torch.zeros((), device=tensors[0].device))
    return bool(total.isfinite())


def _for_every_head(tensor: Tensor, heads: int) -> Tensor:
    """Key heads that several query heads share, once for each of them."""
    return tensor if tensor.shape[1] == heads else tensor.repeat_interleave(heads // tensor.shape[1], dim=1)


def _pad_tokens(tensor: Tensor, padding: int) -> Tensor:
    return functional.pad(tensor, (0, 0, 0, padding)) if padding else tensor


def _visible(length: int, padding: int, side: int, key_mask: Tensor | None, device: torch.device) -> Tensor:
    """Which keys of the band exist and take part: (1 or batch, 1, padded length, 2 side + 1), boolean."""
    keys = torch.ones(1, length, dtype=torch.bool, device=device) if key_mask is None else key_mask.bool()
    return functional.pad(keys, (side, side + padding)).unfold(1, 2 * side + 1, 1).unsqueeze(1)


def _band_of_scores(query: Tensor, key: Tensor, side: int) -> Tensor:
    """Scores of every query with its band of keys: (batch, heads, length, 2 side + 1).

    Column r belongs to the key at the query's position + r - side; scores of keys beyond an edge are arbitrary.
    """
    batch, heads, length, _ = query.shape
    blocks, columns = length // side, 2 * side + 1
    products = _pairs_of_blocks(query, side) @ _pairs_of_blocks(key, side).transpose(-1, -2)
    # (chunks, 2w, 2w) with a row of zeros below, read in rows of 2w + 1: row i now starts at the key of query i.
    skewed = functional.pad(products, (0, 0, 0, 1)).view(batch, heads, blocks - 1, 2 * side, columns)
    band = query.new_zeros(batch, heads, blocks, side, columns)
    # Keys from the query's own on: the first half of every chunk, and the second half of the last one.
    band[:, :, :-1, :, side:] = skewed[:, :, :, :side, : side + 1]
    band[:, :, -1, :, side:] = skewed[:, :, -1, side:, : side + 1]
    # Keys before the query: they end the row above, in the second half of every chunk and the first half of the first.
    band[:, :, 1:, :, :side] = skewed[:, :, :, side - 1 : -1, side + 1 :]
    band[:, :, 0, 1:, 1:side] = skewed[:, :, 0, : side - 1, side + 2 :]
    return band.view(batch, heads, length, columns)


def _pairs_of_blocks(tensor: Tensor, side: int) -> Tensor:
    """Overlapping chunks of two blocks each: (batch, heads, length / side - 1, 2 side, head_dim)."""
    blocks = _blocks(tensor, side)
    return torch.cat((blocks[:, :, :-1], blocks[:, :, 1:]), dim=3)


def _apply_band(weights: Tensor, value: Tensor, side: int, looked_at: bool) -> Tensor:
    """Weighted sums of every query's band of values: (batch, heads, length, head_dim)."""
    rows = _in_rows_of_three_blocks(weights, side)
    values = _blocks(functional.pad(value, (0, 0, side, side)), side)
    triples = torch.cat((values[:, :, :-2], values[:, :, 1:-1], values[:, :, 2:]), dim=3)
    output: Tensor = _Product.apply(rows, triples, side) if looked_at else rows @ triples  # type: ignore[no-untyped-call]
    return output.flatten(2, 3)


def _in_rows_of_three_blocks(weights: Tensor, side: int) -> Tensor:
    """(batch, heads, blocks, side, 3 side): the band of every query, at its place among three blocks of keys."""
    batch, heads, length, columns = weights.shape
    blocks = length // side
    # Each row of 2w + 1 weights is padded to 3w + 1 and read in rows of 3w, which moves row i to the right by i keys.
    rows = functional.pad(weights.view(batch, heads, blocks, side, columns), (0, side))
    return rows.flatten(3)[..., :-side].view(batch, heads, blocks, side, 3 * side)


class _Product(torch.autograd.Function):
    """rows @ triples, whose backward keeps a gradient that is not finite from keys that its query does not see."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, triples: Tensor, side: int) -> Tensor:
        ctx.save_for_backward(rows, triples)
        ctx.side = side
        return rows @ triples

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, triples = ctx.saved_tensors
        (grad,) = grads
        grad_rows, turned = grad @ triples.transpose(-1, -2), rows.transpose(-1, -2)
        if not _may_be_looked_at(grad) or _all_finite(grad):
            return grad_rows, turned @ grad, None
        seen = _in_rows_of_three_blocks(rows.new_ones(1, 1, rows.shape[2] * ctx.side, 2 * ctx.side + 1), ctx.side)
        return grad_rows, by_diagonals.selected_product(turned, grad, seen.transpose(-1, -2)), None


def _blocks(tensor: Tensor, side: int) -> Tensor:
    """(batch, heads, length / side, side, head_dim)."""
    batch, heads, length, width = tensor.shape
    return tensor.reshape(batch, heads, length // side, side, width)

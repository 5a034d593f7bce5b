from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyprof.errors import UsageError
from pyprof.ops.chunks import chunked_attention


def dense(query: Tensor, key: Tensor, value: Tensor, side: int, key_mask: Tensor | None) -> Tensor:
    """The definition: dense attention under a band, a query without any key giving zeros."""
    position = torch.arange(query.shape[2])
    visible = ((position[:, None] - position[None]).abs() <= side)[None, None]
    if key_mask is not None:
        visible = visible & key_mask[:, None, None]
    scores = (query @ key.transpose(-1, -2)) / query.shape[-1] ** 0.5
    weights = scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~visible, 0.0)
    return weights @ value


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("length", "side"),
    [(1, 1), (2, 1), (7, 1), (3, 2), (8, 2), (9, 2), (1, 16), (31, 16), (32, 16), (33, 16), (100, 16), (130, 50)],
)
def test_equals_dense_attention_under_a_band_forward_and_backward(length: int, side: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(length * 100 + side)
    query, key, value = (torch.randn(2, 3, length, 8, generator=generator).requires_grad_() for _ in range(3))
    key_mask = torch.rand(2, length, generator=generator) > 0.4 if masked else None
    upstream = torch.randn(2, 3, length, 8, generator=generator)
    results = []
    for output in (
        chunked_attention(query, key, value, (side, side), key_mask=key_mask),
        dense(query, key, value, side, key_mask),
    ):
        results.append((output, *torch.autograd.grad(output, (query, key, value), upstream)))
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


def test_a_window_that_is_off_by_one_would_be_seen() -> None:
    query, key, value = (torch.randn(1, 1, 40, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    ours = chunked_attention(query, key, value, (4, 4))
    assert (ours - dense(query, key, value, 5, None)).abs().max() > 1e-2
    assert (ours - dense(query, key, value, 3, None)).abs().max() > 1e-2


def test_scale_and_dropout() -> None:
    query, key, value = (torch.randn(1, 2, 20, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    torch.testing.assert_close(
        chunked_attention(query, key, value, (4, 4), scale=1.0), dense(query * 2.0, key, value, 4, None)
    )
    assert torch.equal(chunked_attention(query, key, value, (4, 4), dropout_p=1.0), torch.zeros_like(value))


@pytest.mark.parametrize("window", [(0, 0), (4, 5), (-1, -1)])
def test_a_window_that_chunks_cannot_do_is_refused(window: tuple[int, int]) -> None:
    tensor = torch.zeros(1, 1, 10, 2)
    with pytest.raises(UsageError, match="as many neighbours left as right"):
        chunked_attention(tensor, tensor, tensor, window)

"""Each fixed pattern is dense attention under a mask that is written in a line, and dense attention in its limit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from zoo_cases import HEADS, attention, everything, hidden, masked, matrix, same, states

BLOCK, WINDOW, GAP, STRIDE, COLUMNS, WIDTH = 5, 3, 3, 4, 2, 7
# The condition on (i, j) of each half of the heads, and the options that go with it.
PATTERNS: dict[str, tuple[dict[str, int], Any, Any]] = {
    "local": ({"block": BLOCK}, lambda i, j: i // BLOCK == j // BLOCK, None),
    "window": ({"window": WINDOW}, lambda i, j: (i - j).abs() <= WINDOW, None),
    "widening": ({"window": WINDOW}, lambda i, j: (i - j).abs() <= 2 * WINDOW, None),
    "dilated": (
        {"window": WINDOW, "gap": GAP},
        lambda i, j: ((i - j).abs() <= WINDOW * GAP) & ((i - j) % GAP == 0),
        None,
    ),
    "strided": ({}, lambda i, j: (i - j).abs() <= STRIDE, lambda i, j: (i - j) % STRIDE == 0),
    "fixed": (
        {"columns": COLUMNS, "stride": STRIDE},
        lambda i, j: i // STRIDE == j // STRIDE,
        lambda i, j: (j % STRIDE >= STRIDE - COLUMNS) | (i < 0),
    ),
    "image-1d": (
        {"block": BLOCK, "memory": WINDOW},
        lambda i, j: (j >= i // BLOCK * BLOCK - WINDOW) & (j < i // BLOCK * BLOCK + BLOCK + WINDOW),
        None,
    ),
    "image-2d": (
        {"rows": 2, "columns": 3, "memory": 1},
        lambda i, j: _in_frame(i // WIDTH, j // WIDTH, 2) & _in_frame(i % WIDTH, j % WIDTH, 3),
        None,
    ),
}


def _in_frame(i: torch.Tensor, j: torch.Tensor, side: int) -> torch.Tensor:
    """Whether a coordinate lies in the query's rectangle or one pixel beside it."""
    return (j >= i // side * side - 1) & (j <= i // side * side + side)


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("length", [1, 12, 29])
@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_dense_attention_under_its_mask(name: str, length: int, causal: bool) -> None:
    options, first, second = PATTERNS[name]
    module = attention(name, causal, layer=1, **options)
    module.stride, module.width = STRIDE, WIDTH
    halves = [matrix(first, length)] * 2 if second is None else [matrix(first, length), matrix(second, length)]
    seen = torch.stack([halves[head >= HEADS // 2] for head in range(HEADS)]) & everything(length, causal)
    query, key, value = states(length)
    ours = module.attend(query, key, value)
    inputs = (query, key, value) if length == 29 else ()
    same(ours, masked(query, key, value, seen), inputs)


LIMITS = {
    "local": {"block": 40},
    "window": {"window": 28},
    "widening": {"window": 28},
    "dilated": {"window": 28, "gap": 1},
    "image-1d": {"block": 40, "memory": 2},
    "image-2d": {"rows": 10, "columns": 10, "memory": 0},
}


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
@pytest.mark.parametrize("name", LIMITS)
def test_a_pattern_that_hides_nothing_is_dense_attention(name: str, causal: bool) -> None:
    length = 29
    query, key, value = states(length)
    ours = attention(name, causal, **LIMITS[name])
    same(ours.attend(query, key, value), attention("dense", causal).attend(query, key, value), (query, key, value))


@pytest.mark.parametrize(("name", "strides"), [("strided", (28, 1)), ("fixed", (40, 2))])
def test_the_halves_of_a_sparse_transformer_are_dense_each_in_its_own_limit(
    name: str, strides: tuple[int, int]
) -> None:
    query, key, value = states(29)
    dense, half = attention("dense").attend(query, key, value), HEADS // 2
    for stride, part in zip(strides, (slice(half), slice(half, None)), strict=True):
        module = attention(name)
        module.stride = stride
        same(module.attend(query, key, value)[:, part], dense[:, part])


def test_a_stride_and_an_images_width_are_the_square_root_of_the_length() -> None:
    strided, fixed, image = attention("strided"), attention("fixed"), attention("image-2d")
    for length, root in ((1024, 32), (2048, 45), (16, 4)):
        for module in (strided, fixed, image):
            module.fit(length)
        assert (strided.stride, fixed.stride, image.width) == (root, root, root)


def test_windows_double_from_layer_to_layer() -> None:
    assert [attention("widening", layer=layer, window=3).window for layer in range(4)] == [3, 6, 12, 24]


@pytest.mark.parametrize("causal", [False, True], ids=["both", "causal"])
def test_gaussian_attention_is_the_bell_curve_of_the_paper(causal: bool) -> None:
    length, deviation = 29, 1.3
    module = attention("gaussian", causal, deviation=deviation, radius=12)
    centres = torch.tensor([(-1, 0, 1)[head % 3] if not causal else (-1, 0)[head % 2] for head in range(HEADS)])
    i, j = torch.arange(length)[:, None], torch.arange(length)[None, :]
    normal = torch.distributions.Normal(i + centres[:, None, None].double(), deviation)
    weights = normal.log_prob(j.expand(HEADS, length, length).double()).exp() * everything(length, causal)
    value = states(length, count=1)[0]
    torch.testing.assert_close(module.blur(value), weights @ value, atol=1e-10, rtol=1e-10)
    out = module(hidden(length))
    torch.testing.assert_close(out, module.join(weights @ module.split(module.value(hidden(length)))))


def test_a_narrow_bell_curve_shifts_the_values() -> None:
    module = attention("gaussian", deviation=1e-3, radius=2)
    value = states(9, count=1)[0]
    peak = 1 / (1e-3 * (2 * torch.pi) ** 0.5)
    shifted = module.blur(value) / peak
    for head, centre in ((0, -1), (1, 0), (2, 1)):
        torch.testing.assert_close(shifted[:, head, 1:-1], value[:, head, 1 + centre : 8 + centre])

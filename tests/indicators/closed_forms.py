"""Multiply-adds of the seven models by their papers' equations, from their configurations and nothing else."""

from __future__ import annotations

from math import ceil
from typing import Any

CLASSES = 2


def up(length: int, multiple: int) -> int:
    return ceil(length / multiple) * multiple


class Count:
    """Forward products, and how many times as many the backward of each does: 2 where both operands have gradients."""

    def __init__(self) -> None:
        self.forward = self.backward = 0

    def add(self, macs: float, backward: float = 2) -> None:
        self.forward += int(macs)
        self.backward += int(macs * backward)


def window_pairs(length: int, left: int, right: int) -> int:
    return sum(min(query + right, length - 1) - max(query - left, 0) + 1 for query in range(length))


def chunk_pairs(length: int, side: int) -> int:
    """Scores of chunks of 2 x side tokens that overlap by half, and values over three times the side."""
    side = min(side, length - 1)
    tokens = up(length, 2 * side)
    return (tokens // side - 1) * (2 * side) ** 2 + (tokens // side) * side * 3 * side


def block_pairs(length: int, left: int, right: int, block: int = 128) -> int:
    """Pairs in blocks of queries and keys that hold anything of the window."""
    starts = range(0, length, block)
    size = {start: min(block, length - start) for start in starts}
    return sum(
        size[query] * size[key]
        for query in starts
        for key in starts
        if key <= query + size[query] - 1 + right and key + size[key] - 1 >= query - left
    )


def encoder(count: Count, config: Any, tokens: int, pair_products: float, backward: float = 2) -> None:
    """Encoder layers; `pair_products` is the number of (query, key) pairs over both products, of one head."""
    width, inner = config.hidden_size, config.intermediate_size
    for _ in range(config.num_hidden_layers):
        count.add(tokens * (4 * width**2 + 2 * width * inner))
        count.add(pair_products * width, backward)


def pooler(count: Count, config: Any) -> None:
    """Its output is no part of the loss."""
    count.add(config.hidden_size**2, 0)


def bert(count: Count, config: Any, length: int, attention: str, train: bool) -> None:
    encoder(count, config, length, 2 * length**2)  # with dropout no fused kernel trains on the host
    pooler(count, config)


def longformer(count: Count, config: Any, length: int, attention: str, train: bool) -> None:
    window = config.attention_window[0]
    tokens = up(length, window)
    encoder(count, config, tokens, chunk_pairs(tokens, window // 2))
    pooler(count, config)


def nystromformer(count: Count, config: Any, length: int, attention: str, train: bool) -> None:
    landmarks, width, heads = config.num_landmarks, config.hidden_size, config.num_attention_heads
    tokens = max(up(length, landmarks), 2 * landmarks)
    encoder(count, config, tokens, 0)
    for _ in range(config.num_hidden_layers):
        count.add(tokens * landmarks * width * 4)  # two kernels, the third one on the values, and the whole product
        count.add(landmarks**2 * width)  # the kernel of landmarks with landmarks
        count.add(heads * (6 * 4 * landmarks**3 + tokens * landmarks**2))  # Newton's iterations, six of four products
        count.add(tokens * width * config.conv_kernel_size)
    # transformers' Nyströmformer has no pooler.


def hubert(count: Count, config: Any, length: int, attention: str, train: bool) -> None:
    waveform(count, config, length)
    encoder(count, config, length, 2 * length**2)


def waveform(count: Count, config: Any, length: int) -> None:
    """Seven convolutions without padding, the last of which has `length` frames; then the projection and positions.

    In training transformers asks for the waveform's gradient too.
    """
    frames = length
    layers = list(zip((1, *config.conv_dim), config.conv_dim, config.conv_kernel, config.conv_stride, strict=False))
    for inside, outside, kernel, stride in reversed(layers):
        count.add(frames * inside * outside * kernel)
        frames = (frames - 1) * stride + kernel
    width, kernel = config.hidden_size, config.num_conv_pos_embeddings
    count.add(length * config.conv_dim[-1] * width)
    count.add((length + 1 - kernel % 2) * width * (width // config.num_conv_pos_embedding_groups) * kernel)


def l_hubert(count: Count, config: Any, length: int, attention: str, train: bool) -> None:
    waveform(count, config, length)
    left, right = config.window if isinstance(config.window[0], int) else config.window[0]
    if attention == "fused":
        encoder(count, config, length, 2 * window_pairs(length, left, right), 2.5)
    elif attention == "chunks":
        encoder(count, config, length, chunk_pairs(length, left))
    elif attention == "flex":
        encoder(count, config, length, 2 * block_pairs(length, left, right))
    else:
        encoder(count, config, length, 2 * length**2)


def vit(count: Count, config: Any, length: int, attention: str, train: bool) -> None:
    patch, width = config.patch_size, config.hidden_size
    patches = (length // patch) ** 2
    count.add(patches * width * 3 * patch**2, 1)  # the image needs no gradient
    encoder(count, config, patches + 1, 2 * (patches + 1) ** 2, 2.5 if attention == "sdpa" else 2)
    pooler(count, config)


def swin(count: Count, config: Any, length: int, attention: str, train: bool) -> None:
    side, window = length // config.patch_size, config.window_size
    count.add(side**2 * config.embed_dim * 3 * config.patch_size**2, 1)
    for stage, depth in enumerate(config.depths):
        width = config.embed_dim * 2**stage
        for _ in range(depth):
            tokens = up(side, window) ** 2
            count.add(tokens * 4 * width**2)
            count.add(tokens * window**2 * 2 * width)  # the learned bias keeps a fused kernel from training
            count.add(side**2 * 2 * config.mlp_ratio * width**2)
        if stage + 1 < len(config.depths):
            side = ceil(side / 2)
            count.add(side**2 * 4 * width * 2 * width)


FORMS = {
    "bert": bert,
    "longformer": longformer,
    "nystromformer": nystromformer,
    "hubert": hubert,
    "l-hubert": l_hubert,
    "l-hubert-100": l_hubert,
    "vit": vit,
    "swin": swin,
}


def closed_form(name: str, config: Any, length: int, attention: str, mode: str) -> tuple[int, int]:
    """Multiply-adds of one example: (forward, backward); a training step's head is a mean and a linear layer."""
    count = Count()
    FORMS[name](count, config, length, attention, mode == "train")
    if mode == "infer":
        return count.forward, 0
    width = config.embed_dim * 2 ** (len(config.depths) - 1) if name == "swin" else config.hidden_size
    count.add(CLASSES * width)
    return count.forward, count.backward

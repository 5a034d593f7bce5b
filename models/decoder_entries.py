"""A decoder and cheaper kinds of its cache, for the study of generation. Importing this loads no torch.

All are one architecture (Mistral's: rotary positions, gated feedforward layers) of GPT-2's size; only what attention
keeps of the tokens before differs.
"""

from __future__ import annotations

from collections.abc import Callable

from pyprof.models.entries import Entry, Rules

WIDTH, INNER, LAYERS, HEADS, WORDS = 768, 2048, 12, 12, 32_000
WINDOW = 256
_LONGEST = 1 << 17
_KINDS: Rules = (
    (r"model\.(embed_tokens|rotary_emb)", "embedding"),
    (r"model\.layers\.\d+\.self_attn", "self-attention"),
    (r"model\.layers\.\d+\.mlp", "feedforward"),
    (r"lm_head", "head"),
)


def _work(shared: int, window: int | None) -> Callable[[int], float]:
    def forward(length: int) -> float:
        kept = WIDTH * shared // HEADS
        linear = 2.0 * (2 * WIDTH**2 + 2 * WIDTH * kept + 3 * WIDTH * INNER)
        context = length if window is None else min(length, window)
        return length * (LAYERS * (linear + 4.0 * WIDTH * context) + 2.0 * WIDTH * WORDS)

    return forward


def _entry(
    name: str, description: str, source: str, family: str, shared: int = HEADS, window: int | None = None
) -> Entry:
    return Entry(
        name=name,
        modality="text",
        vanilla=None if name == "decoder" else "decoder",
        family=family,
        unit="token",
        description=f"decoder of GPT-2's size, {description}",
        source=source,
        attentions=("sdpa", "eager"),
        then="eager",
        shortest=1,
        longest=_LONGEST,
        multiple=1,
        loader=f"pyprof.models.decoders:{name.replace('-', '_')}",
        kinds=_KINDS,
        work=_work(shared, window),
        generates=True,
    )


DECODERS = (
    _entry(
        "decoder", "keys and values of every head and every token", "Vaswani et al., NeurIPS 2017", "full attention"
    ),
    _entry(
        "decoder-grouped",
        "keys and values shared by groups of three heads",
        "Ainslie et al., GQA, EMNLP 2023",
        "shared keys and values",
        shared=4,
    ),
    _entry(
        "decoder-shared",
        "keys and values shared by all heads",
        "Shazeer, Fast Transformer Decoding, 2019 (arXiv:1911.02150)",
        "shared keys and values",
        shared=1,
    ),
    _entry(
        "decoder-window",
        f"each token sees the {WINDOW} last ones, itself included",
        "Jiang et al., Mistral 7B, 2023 (arXiv:2310.06825)",
        "fixed pattern (local window)",
        window=WINDOW,
    ),
)

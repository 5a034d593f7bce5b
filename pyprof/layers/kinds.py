"""The kind of a layer: a model's own rules first, then guesses from class and attribute names. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

EMBEDDING = "embedding"
SELF_ATTENTION = "self-attention"
FEEDFORWARD = "feedforward"
NORMALISATION = "normalisation"
HEAD = "head"
OTHER = "other"
# What ran several kinds of layers in one piece, so that their times cannot be told apart; known only after it ran.
FUSED = "fused"
KINDS = (EMBEDDING, SELF_ATTENTION, FEEDFORWARD, NORMALISATION, HEAD, OTHER)

# Weight and spectral norm reparametrise a layer's weights: they are part of that layer.
_NORM = re.compile(r"(?<!Weight)(?<!Spectral)Norm(\dd)?$")
# In this order: "MultiheadAttentionPoolingHead" is a head, and "BertSelfOutput" belongs to the attention before it.
_CLASSES = (
    (HEAD, re.compile(r"Head$|Classifier|Pooler|LMHead|PredictionHead")),
    (SELF_ATTENTION, re.compile(r"Attention|Attn|SelfOutput")),
    (EMBEDDING, re.compile(r"Embed|PositionalEncoding|PatchMerging|Feature(Encoder|Extractor|Projection)")),
    (FEEDFORWARD, re.compile(r"MLP|Mlp|Feed_?Forward|FFN|Intermediate|Output$|Dense(Gated)?Act|LayerFF|Experts?$|MoE")),
)
_ATTRIBUTES = (
    (HEAD, re.compile(r"(lm_)?head|classifier|pooler|score")),
    (SELF_ATTENTION, re.compile(r"(self_?)?att(entio)?n")),
    (EMBEDDING, re.compile(r"(\w*_)?embed(ding)?s?(_tokens|_positions)?|wte|wpe")),
    (FEEDFORWARD, re.compile(r"mlp|ffn?|feed_?forward|intermediate|linear[12]|fc_?[12]")),
)


def classify(module: nn.Module, rules: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """The kind of every layer of a module, by path; the module itself has the path "".

    A rule is (regular expression, kind); the first one that matches a whole path holds for that layer and for
    everything inside it. Inside, a layer that matches a rule of its own follows that one, and a normalisation layer
    is always "normalisation". Layers outside of every rule are told by the names of their class and attribute, or
    else are of the kind of the layer around them, or else "other".

    Raises ValueError for a rule with a kind that does not exist.
    """
    unknown = sorted({kind for _, kind in rules} - set(KINDS))
    if unknown:
        raise ValueError(f"there is no kind {unknown[0]!r}: choose from {', '.join(KINDS)}")
    compiled = [(re.compile(pattern), kind) for pattern, kind in rules]
    kinds: dict[str, str] = {}
    ruled: dict[str, bool] = {}
    for path, layer in module.named_modules(remove_duplicate=False):
        around = path.rpartition(".")[0] if path else None
        kinds[path], ruled[path] = _kind(path, layer, compiled, kinds.get(around or ""), ruled.get(around or "", False))
    return kinds


def _kind(
    path: str, layer: nn.Module, rules: Sequence[tuple[re.Pattern[str], str]], around: str | None, around_ruled: bool
) -> tuple[str, bool]:
    """A layer's kind, and whether a rule gave it; `around` is the kind of the layer around it."""
    for pattern, kind in rules:
        if pattern.fullmatch(path):
            return kind, True
    if _is_normalisation(layer) or around == NORMALISATION:
        return NORMALISATION, around_ruled
    if around_ruled and around is not None:
        return around, True
    guess = _guess(path, layer)
    if guess is None or (around == SELF_ATTENTION and guess == EMBEDDING):
        # A table of relative positions inside an attention is part of it.
        return around or OTHER, False
    return guess, False


def _is_normalisation(layer: nn.Module) -> bool:
    """Whether a layer normalises: one without layers of its own whose class is called so (LayerNorm, RMSNorm, ...)."""
    return next(layer.children(), None) is None and _NORM.search(type(layer).__name__) is not None


def _guess(path: str, layer: nn.Module) -> str | None:
    for kind, pattern in _CLASSES:
        if pattern.search(type(layer).__name__):
            return kind
    attribute = path.rpartition(".")[2]
    for kind, pattern in _ATTRIBUTES:
        if pattern.fullmatch(attribute):
            return kind
    return None

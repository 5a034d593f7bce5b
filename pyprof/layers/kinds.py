"""The kind of a layer: a user's or a model's own rules first, then what its class, attribute and make-up tell.

Loads no torch.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

EMBEDDING = "embedding"
SELF_ATTENTION = "self-attention"
CROSS_ATTENTION = "cross-attention"
FEEDFORWARD = "feedforward"
ROUTER = "router"
CONVOLUTION = "convolution"
STATE_SPACE = "state space"
RECURRENCE = "recurrence"
NORMALISATION = "normalisation"
HEAD = "head"
# What is no layer: the time in collectives of several processes, and in waiting for them.
COMMUNICATION = "communication"
OTHER = "other"
# What ran several kinds of layers in one piece, so that their times cannot be told apart; known only after it ran.
FUSED = "fused"
KINDS = (
    *(EMBEDDING, SELF_ATTENTION, CROSS_ATTENTION, FEEDFORWARD, ROUTER, CONVOLUTION, STATE_SPACE, RECURRENCE),
    *(NORMALISATION, HEAD, COMMUNICATION, OTHER),
)
# The names of sums in a profile, and so of no layer.
_RESERVED = (FUSED, "outside")
_OWN_KIND = re.compile(r"\w[\w +/-]{0,23}")
_MISSPELT = 0.75

# Weight and spectral norm reparametrise a layer's weights: they are part of that layer.
_NORM = re.compile(r"(?<!Weight)(?<!Spectral)Norm(\dd|Gated)?$")
# A whole block or model can be called after the attention in it.
_NO_BLOCK = r"(?!\w*(Block|(En|De)coderLayer|Model|Stage|\dD)$)"
# In this order: "MultiheadAttentionPoolingHead" is a head, and "BertSelfOutput" belongs to the attention before it.
_CLASSES = (
    (HEAD, re.compile(r"(Head|Classifier|Pooler|Logits)$")),
    (RECURRENCE, re.compile(r"RWKV\w*Attention|TimeMix|RecurrentBlock|RG_?LRU|[xms]LSTM(Layer|Cell)$", re.IGNORECASE)),
    (CROSS_ATTENTION, re.compile(rf"(Cross|EncDec|EncoderDecoder)_?(Attention|Attn){_NO_BLOCK}")),
    (SELF_ATTENTION, re.compile(rf"(Attention|Attn){_NO_BLOCK}|SelfOutput")),
    (
        EMBEDDING,
        re.compile(r"Embed|PositionalEncoding|PatchMerging|Feature(Encoder|Extractor|Projection)|Stem$|Subsampl"),
    ),
    (ROUTER, re.compile(r"Router$|TopK?Gat(e|ing)$")),
    (
        FEEDFORWARD,
        re.compile(
            r"MLP|Mlp|Feed_?Forward|FFN|Intermediate|Output$|Dense(Gated)?Act|LayerFF|Experts?$|Mo[eE](Block|Layer)?$"
        ),
    ),
)
_FEEDFORWARD = re.compile(r"mlp|ffn?(_\w+)?|feed_?forward|intermediate|linear[12]|fc_?[12]|(\w+_)?moe")
_ATTRIBUTES = (
    (
        HEAD,
        re.compile(r"(\w+_)?(head|classifier)|pooler|score|(visual|text|image|audio)_projection|(class|bbox)_embed"),
    ),
    (CROSS_ATTENTION, re.compile(r"(\w+_)?cross_?att(entio)?n\w*|encoder_att(entio)?n|EncDecAttention|xattn")),
    (SELF_ATTENTION, re.compile(r"(\w+_)?(self_?)?att(entio)?n")),
    (EMBEDDING, re.compile(r"(\w*_)?embed(ding)?s?(_tokens|_positions)?|wte|wpe|(\w+_)?stem")),
    (FEEDFORWARD, _FEEDFORWARD),
    (ROUTER, re.compile(r"router")),
    (CONVOLUTION, re.compile(r"pw_?conv\d?|pointwise_conv\d?")),
)
_GATE = re.compile(r"(\w+_)?gate|gating")
_EXPERTS = re.compile(r"(\w+_)?experts?")
_ACTIVATION = re.compile(r"(\w+_)?act(ivation)?(_fn|_func|_function)?")
# An attention whose name tells only beside that of its sibling that it looks at another sequence.
_SECOND_ATTENTION = {"multihead_attn": "self_attn", "attn2": "attn1"}

# Kinds that a layer of a kind keeps for itself: what is guessed for a layer inside is then a part of it.
_ATTENTIONS = {SELF_ATTENTION, CROSS_ATTENTION}
_SEQUENCE = {STATE_SPACE, RECURRENCE}
_PARTS = {
    SELF_ATTENTION: {EMBEDDING, CONVOLUTION, HEAD},
    CROSS_ATTENTION: {EMBEDDING, CONVOLUTION, HEAD, SELF_ATTENTION},
    FEEDFORWARD: {CONVOLUTION},
    EMBEDDING: {CONVOLUTION},
    STATE_SPACE: {EMBEDDING, CONVOLUTION, *_SEQUENCE},
    RECURRENCE: {EMBEDDING, CONVOLUTION, *_SEQUENCE},
    ROUTER: set(KINDS),
    HEAD: set(KINDS),
}


@dataclass(frozen=True)
class _Around:
    """The layer around another one: its kind, whether a rule gave that, and the layer itself."""

    kind: str
    ruled: bool
    layer: nn.Module


def classify(module: nn.Module, rules: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """The kind of every layer of a module, by path; the module itself has the path "".

    A rule is (regular expression, kind); the first one that matches a whole path holds for that layer and for
    everything inside it. Inside, a layer that matches a rule of its own follows that one, and a normalisation layer
    is always "normalisation". A rule's kind is one of `KINDS` or a name of the user's own. Layers outside of every rule
    are told by the names of their class and attribute and by what they are made of, or else are of the kind of the
    layer around them, or else "other".

    Raises ValueError for a rule that is no regular expression, and for a kind that is none.
    """
    compiled = compile_rules(rules)
    inside = _Inside(module)
    around: dict[str, _Around] = {}
    for path, layer in module.named_modules(remove_duplicate=False):
        outer = around.get(path.rpartition(".")[0]) if path else None
        kind, ruled = _kind(path, layer, compiled, outer, inside)
        around[path] = _Around(kind, ruled, layer)
    return {path: each.kind for path, each in around.items()}


def compile_rules(rules: Sequence[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    """The rules of `classify`, checked; raises ValueError as it does."""
    return [(_pattern(pattern), _checked(kind)) for pattern, kind in rules]


def _pattern(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"{pattern!r} is no regular expression ({error}): a rule is (REGEX on a path, kind)"
        ) from error


def _checked(kind: str) -> str:
    """A known kind, or a user's own that is not a misspelt one."""
    if kind in KINDS:
        return kind
    near = difflib.get_close_matches(kind.lower(), KINDS, n=1, cutoff=_MISSPELT)
    if near:
        raise ValueError(f"there is no kind {kind!r}: did you mean {near[0]!r}?")
    if kind in _RESERVED or not _OWN_KIND.fullmatch(kind):
        raise ValueError(
            f"{kind!r} cannot be a kind: choose from {', '.join(KINDS)}, or a name of your own of at most 24 letters, "
            "digits, blanks and hyphens"
        )
    return kind


def _kind(
    path: str,
    layer: nn.Module,
    rules: Sequence[tuple[re.Pattern[str], str]],
    around: _Around | None,
    inside: _Inside,
) -> tuple[str, bool]:
    """A layer's kind, and whether a rule gave it."""
    for pattern, kind in rules:
        if pattern.fullmatch(path):
            return kind, True
    if _is_normalisation(layer) or (around is not None and around.kind == NORMALISATION):
        return NORMALISATION, around is not None and around.ruled
    if around is not None and around.ruled:
        return around.kind, True
    name = path.rpartition(".")[2]
    guess = _named(layer, name, around.layer if around else None) or _made(layer, around, inside)
    outer = OTHER if around is None else around.kind
    if guess is None or guess in _PARTS.get(outer, ()):
        return outer, False
    return guess, False


def _is_normalisation(layer: nn.Module) -> bool:
    """Whether a layer normalises: one without layers of its own whose class is called so (LayerNorm, RMSNorm, ...)."""
    return next(layer.children(), None) is None and _NORM.search(type(layer).__name__) is not None


def _named(layer: nn.Module, name: str, parent: nn.Module | None) -> str | None:
    """What the names of a layer's class, of its attribute and of its siblings tell."""
    siblings = () if parent is None else parent._modules.keys()  # TorchScript's keys are a list
    other = _SECOND_ATTENTION.get(name)
    if other is not None and other != name and other in siblings:
        return CROSS_ATTENTION
    of_class = next((kind for kind, pattern in _CLASSES if pattern.search(type(layer).__name__)), None)
    of_attribute = next((kind for kind, pattern in _ATTRIBUTES if pattern.fullmatch(name)), None)
    if of_class == SELF_ATTENTION and of_attribute == CROSS_ATTENTION:
        return CROSS_ATTENTION
    if of_class or of_attribute:
        return of_class or of_attribute
    if _GATE.fullmatch(name) and any(map(_EXPERTS.fullmatch, siblings)):
        return ROUTER
    if _ACTIVATION.fullmatch(name) and any(map(_FEEDFORWARD.fullmatch, siblings)):
        return FEEDFORWARD
    return None


def _made(layer: nn.Module, around: _Around | None, inside: _Inside) -> str | None:
    """What a layer's parameters and the layers in it tell."""
    if recurrent := _recurrent(layer):
        return recurrent
    if around is not None and _is(layer, "_ConvNd", "Sequential") and inside.is_in_front(layer, around.layer):
        return EMBEDDING
    # A whole model is more than its convolutions.
    return CONVOLUTION if _is(layer, "_ConvNd") or (around and id(layer) in inside.convolutional) else None


def _recurrent(layer: nn.Module) -> str | None:
    if "A_log" in layer._parameters:
        return STATE_SPACE  # the logarithm of the state's decay, in the code of Mamba and its kin
    return RECURRENCE if _is(layer, "RNNBase", "RNNCellBase") else None


def _is(layer: nn.Module, *bases: str) -> bool:
    """Whether a layer is an instance of classes of PyTorch, told by their names, since torch is not loaded here."""
    return any(base.__name__ in bases for base in type(layer).__mro__)


class _Inside:
    """What the layers of a module hold, by their identity: `attending` is, or holds, an attention; `convolutional`
    calls a convolution by itself, or holds layers with parameters that all are convolutions and normalisations.
    """

    def __init__(self, module: nn.Module) -> None:
        self._attentions: set[int] = set()
        self.attending: set[int] = set()
        self.convolutional: set[int] = set()
        self._visit(module, "", None)

    def is_in_front(self, layer: nn.Module, parent: nn.Module) -> bool:
        """Whether a layer with convolutions stands before the blocks of a transformer, and so makes its tokens."""
        if id(layer) not in self.convolutional or id(layer) in self.attending:
            return False
        children = list(parent.children())
        behind = children[children.index(layer) + 1 :]
        first = next((child for child in children if id(child) in self.attending), None)
        return first is not None and id(first) not in self._attentions and any(first is child for child in behind)

    def _visit(self, layer: nn.Module, name: str, parent: nn.Module | None) -> None:
        children = dict(layer.named_children())
        for each, child in children.items():
            self._visit(child, each, layer)
        kind = _named(layer, name, parent) or _recurrent(layer)
        if kind in _ATTENTIONS:
            self._attentions.add(id(layer))
        if id(layer) in self._attentions or any(id(child) in self.attending for child in children.values()):
            self.attending.add(id(layer))
        elif kind not in (None, CONVOLUTION):
            return
        elif _is(layer, "_ConvNd") or any(_is(child, "_ConvNd") for child in children.values()):
            self.convolutional.add(id(layer))
        else:
            kinds = {id(child) in self.convolutional for child in children.values() if _holds_weights(child)}
            if kinds == {True} and not layer._parameters:
                self.convolutional.add(id(layer))


def _holds_weights(layer: nn.Module) -> bool:
    return not _is_normalisation(layer) and next(layer.parameters(), None) is not None


def guess_kinds(layers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The kinds of layers of which only the path and the class's name are known, "" where that isn't either.

    Layers come after those around them. What has no class is judged by its attribute's name alone.
    """
    kinds: dict[str, str] = {}
    for path, name in layers:
        around = kinds.get(path.rpartition(".")[0], OTHER) if path else OTHER
        attribute = path.rpartition(".")[2]
        words = name or "".join(word[:1].upper() + word[1:] for word in attribute.split("_"))
        told = next((kind for kind, pattern in _CLASSES if pattern.search(words)), None)
        told = told or next((kind for kind, pattern in _ATTRIBUTES if pattern.fullmatch(attribute)), None)
        inside_attention = around == SELF_ATTENTION and told in (EMBEDDING, FEEDFORWARD)
        normalises = _NORM.search(words) or around == NORMALISATION
        kinds[path] = NORMALISATION if normalises else around if told is None or inside_attention else told
    return kinds

"""The registry's entries of the zoo, made from its mechanisms; importing this loads no torch."""

from __future__ import annotations

from functools import cache, partial

from pyprof.models.entries import Entry, Rules
from pyprof.models.zoo import mechanisms
from pyprof.models.zoo.config import SHAPES
from pyprof.models.zoo.mechanisms import Mechanism

PREFIX = "zoo-"
_LONGEST = 1 << 17
_KINDS: Rules = (
    (r"embeddings", "embedding"),
    (r"stack\.layers\.\d+\.attention", "self-attention"),
    (r"stack\.layers\.\d+\.feedforward\.router", "router"),
    (r"stack\.layers\.\d+\.feedforward", "feedforward"),
)


def entries() -> tuple[Entry, ...]:
    """An entry for each mechanism, dense attention first: the vanilla model of all others."""
    return tuple(map(entry, mechanisms.MECHANISMS))


@cache
def entry(mechanism: Mechanism) -> Entry:
    """The registry's entry of a mechanism: its name behind ``zoo-``, and what its file says of it."""
    facts = mechanism.facts
    return Entry(
        name=PREFIX + mechanism.name,
        modality="text",
        vanilla=None if mechanism.name == "dense" else f"{PREFIX}dense",
        family=facts.family,
        unit="token",
        description=facts.title,
        source=facts.source,
        attentions=mechanism.attentions,
        then="eager",
        shortest=1,
        longest=_LONGEST,
        multiple=1,
        loader=f"pyprof.models.zoo.loading:{mechanism.name}",
        kinds=_KINDS,
        work=partial(_work, mechanism),
    )


def _work(mechanism: Mechanism, length: int) -> float:
    shape = SHAPES["base"]
    width, expanded = shape["hidden_size"], shape["intermediate_size"]
    linear = length * (8.0 * width**2 + 4.0 * width * expanded)
    return shape["num_hidden_layers"] * (linear + 4.0 * width * mechanism.claimed(length))

"""The registry's entries of the zoo, made from its mechanisms; importing this loads no torch."""

from __future__ import annotations

from functools import cache, partial

from pyprof.models.entries import Entry, Rules
from pyprof.models.zoo import mechanisms
from pyprof.models.zoo.config import SHAPES
from pyprof.models.zoo.mechanisms import Mechanism

PREFIX = "zoo-"
ARENA_PREFIX = "lra-"
_LONGEST = 1 << 17
_KINDS: Rules = (
    (r"embeddings", "embedding"),
    (r"stack\.halt", "router"),
    (r"stack\.layers\.\d+\.attention", "self-attention"),
    (r"stack\.layers\.\d+\.feedforward\.router", "router"),
    (r"stack\.layers\.\d+\.feedforward", "feedforward"),
)


def entries() -> tuple[Entry, ...]:
    """An entry for each mechanism, dense attention first: the vanilla model of all others; then the arena's alike."""
    return tuple(map(entry, (*mechanisms.MECHANISMS, *mechanisms.ARENA)))


@cache
def entry(mechanism: Mechanism) -> Entry:
    """The registry's entry of a mechanism, named ``zoo-...`` unless it is the arena's, with what its file says."""
    facts = mechanism.facts
    of_arena = mechanism.name.startswith(ARENA_PREFIX)
    name = mechanism.name if of_arena else PREFIX + mechanism.name
    vanilla = f"{ARENA_PREFIX}transformer" if of_arena else f"{PREFIX}dense"
    return Entry(
        name=name,
        modality="bytes",
        vanilla=None if name == vanilla else vanilla,
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
        complexity=facts.complexity,
        sizes=tuple(SHAPES),
        claim=mechanism.claimed,
    )


def _work(mechanism: Mechanism, length: int) -> float:
    shape = SHAPES["base"]
    width, expanded = shape["hidden_size"], shape["intermediate_size"]
    linear = length * (8.0 * width**2 + 4.0 * width * expanded)
    return float(shape["num_hidden_layers"] * (linear + 4.0 * width * mechanism.claimed(length)))

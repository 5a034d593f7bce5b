"""The survey's tables, from what the mechanisms' files say: ``python -m pyprof.models.zoo.survey > docs/zoo.md``."""

from __future__ import annotations

from collections.abc import Iterator

from pyprof.models.zoo.mechanisms import MECHANISMS, Mechanism

_HEAD = """\
# The zoo

Efficient transformers of every family on one encoder (pre-norm layers, sinusoidal positions, a feed-forward part of
four times the width), so that their differences are the mechanism's. Each is a model as all others:

```sh
pyprof profile zoo-linformer --size tiny --length 256 --seconds 0.2
pyprof study zoo --size tiny --models zoo-dense,zoo-linformer,zoo-window --lengths 64,128,256 --modes infer -o runs/zoo
```

- `pyprof study zoo` measures all of them against dense attention, in plain operations and fused, and fits how their
  costs grow with the length beside what the sources claim.
- `pyprof study lra-speed` puts the speed and memory of [Long Range Arena](https://arxiv.org/abs/2011.04006) beside
  ours, as ratios to the vanilla Transformer. Its models `lra-...` have the settings of the code that produced the
  published table.
- `pyprof study sharing` compares a vanilla, a Universal and a Switch transformer of one shape: their order by
  parameters is not that by FLOPs, nor that by throughput. Beside them stands Gaussian attention, of which more examples
  fit into the same memory.

Size `base` is that of the arena's paper (width 512, 8 heads, 6 layers), `small` that of its released configuration
(256, 4, 4). A new mechanism is a file in `models/zoo`, whose docstring says what the tables below say, and a line in
`models/zoo/mechanisms.py`.

Complexity is what the source claims, in pairs of a query and a key: L is the length, d the width of a head, other
names are the mechanism's options. The tests count the floating-point operations of each from 1,024 to 16,384 tokens
and hold the exponent to the claim's. `python bench/zoo.py` runs each on 64 and on 4,096 tokens, in inference and in
training, and tells time and memory.
"""
_NOTHING = "–"


def page() -> str:
    """The documentation page: the survey's tables, family by family."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    for family in dict.fromkeys(each.facts.family for each in MECHANISMS):
        own = [each for each in MECHANISMS if each.facts.family == family]
        yield f"## {family[0].upper()}{family[1:]}\n"
        yield "| model | what it does | complexity | replaces | has no form for |"
        yield "|---|---|---|---|---|"
        yield from map(_row, own)
        yield ""
        for where in dict.fromkeys(each.where.partition(":")[0] for each in own):
            facts = next(each.facts for each in own if each.where.startswith(f"{where}:"))
            title = facts.title.partition(":")[0]
            yield f"- **{title}**: {facts.source}. {_code(facts.equation)}. Limit: {facts.limit}."
        yield ""


def _row(mechanism: Mechanism) -> str:
    facts = mechanism.facts
    options = ", ".join(f"{name} {value:g}" for name, value in mechanism.options.items())
    told = facts.title + (f" ({options})" if options else "")
    cells = (
        f"`zoo-{mechanism.name}`",
        told,
        f"`{facts.complexity}`",
        ", ".join(facts.addresses),
        ", ".join(facts.cannot) or _NOTHING,
    )
    return f"| {' | '.join(cells)} |"


def _code(equation: str) -> str:
    return f"`{equation}`"


if __name__ == "__main__":
    print(page(), end="")
